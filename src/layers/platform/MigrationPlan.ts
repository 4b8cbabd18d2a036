/**
 * What is left to apply, from the files beside the code and the rows a database keeps of what was applied.
 * History is compared whole: a file that was edited, removed or slipped in below the newest one means that
 * code and database tell two stories, and neither may be believed.
 */
import { hash } from "node:crypto"

import { Data, Result } from "effect"

/** One file `NNNN_name.sql`. */
export interface Migration {
  readonly id: number
  readonly file: string
  readonly text: string
  readonly checksum: string
}

/** What the database remembers of one. */
export interface Applied {
  readonly id: number
  readonly file: string
  readonly checksum: string
}

/** Only files of this form are migrations; anything else in the folder is not looked at. */
export const fileForm = /^(\d{4})_[a-z0-9_]+\.sql$/

/** Lines ends are normalised first: a checkout on Windows is no edit. */
export const migration = (file: string, text: string): Migration => ({
  id: Number(file.slice(0, 4)),
  file,
  text,
  checksum: hash("sha256", text.replaceAll("\r\n", "\n"))
})

/** Two files share a number, so that their order is anybody's guess. */
export class MigrationNumberTaken extends Data.TaggedError("MigrationNumberTaken")<{
  readonly file: string
  readonly by: string
}> {
  override get message(): string {
    return `migrations/${this.file} has the number of migrations/${this.by}. Give the newer one the next free number.`
  }
}

/** The file is not what was applied. */
export class MigrationEdited extends Data.TaggedError("MigrationEdited")<{ readonly file: string }> {
  override get message(): string {
    return `migrations/${this.file} was edited after this database applied it. Restore the file and write the change as a new migration.`
  }
}

/** The file was renamed; its number and text are as they were applied, or else it would be edited. */
export class MigrationRenamed extends Data.TaggedError("MigrationRenamed")<{
  readonly file: string
  readonly appliedAs: string
}> {
  override get message(): string {
    return `migrations/${this.file} was applied to this database as ${this.appliedAs}. Give it its old name back.`
  }
}

/** This database applied a file that is gone, though newer ones are there. */
export class MigrationMissing extends Data.TaggedError("MigrationMissing")<{ readonly file: string }> {
  override get message(): string {
    return `migrations/${this.file} was applied to this database and is missing. Restore it.`
  }
}

/** A file was added below the newest one that this database applied: elsewhere it ran in another order. */
export class MigrationOutOfOrder extends Data.TaggedError("MigrationOutOfOrder")<{
  readonly file: string
  readonly newest: string
}> {
  override get message(): string {
    return `migrations/${this.file} was added after this database applied ${this.newest}. Give it a number above that.`
  }
}

/** This database has been migrated by newer code. */
export class DatabaseNewer extends Data.TaggedError("DatabaseNewer")<{ readonly file: string }> {
  override get message(): string {
    return `This database has migrations this version does not know, the first is ${this.file}. Start the newer version.`
  }
}

export type Mismatch =
  | MigrationNumberTaken
  | MigrationEdited
  | MigrationRenamed
  | MigrationMissing
  | MigrationOutOfOrder
  | DatabaseNewer

/** What is left to apply, in order; or the first thing, from the oldest on, in which code and database differ. */
export const plan = (
  files: ReadonlyArray<Migration>,
  applied: ReadonlyArray<Applied>
): Result.Result<ReadonlyArray<Migration>, Mismatch> => {
  const known = new Map<number, Migration>()
  for (const one of files.toSorted((a, b) => a.id - b.id || (a.file < b.file ? -1 : 1))) {
    const other = known.get(one.id)
    if (other !== undefined) return Result.fail(new MigrationNumberTaken({ file: one.file, by: other.file }))
    known.set(one.id, one)
  }
  const done = new Map(applied.map((one) => [one.id, one]))
  const newestFile = Math.max(0, ...known.keys())
  const newest = applied.reduce<Applied | undefined>((top, one) => (top && top.id > one.id ? top : one), undefined)
  for (const id of [...new Set([...known.keys(), ...done.keys()])].toSorted((a, b) => a - b)) {
    const mismatch = compare(known.get(id), done.get(id), newestFile, newest)
    if (mismatch !== undefined) return Result.fail(mismatch)
  }
  return Result.succeed([...known.values()].filter((one) => !done.has(one.id)))
}

const compare = (
  file: Migration | undefined,
  row: Applied | undefined,
  newestFile: number,
  newest: Applied | undefined
): Mismatch | undefined => {
  if (file === undefined) {
    if (row === undefined) return undefined
    return row.id > newestFile ? new DatabaseNewer({ file: row.file }) : new MigrationMissing({ file: row.file })
  }
  if (row === undefined) {
    return newest !== undefined && newest.id > file.id
      ? new MigrationOutOfOrder({ file: file.file, newest: newest.file })
      : undefined
  }
  if (row.checksum !== file.checksum) return new MigrationEdited({ file: file.file })
  return row.file === file.file ? undefined : new MigrationRenamed({ file: file.file, appliedAs: row.file })
}
