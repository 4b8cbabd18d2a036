import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"

import { fileForm, migration, plan } from "../../src/layers/platform/MigrationPlan.ts"
import type { Migration } from "../../src/layers/platform/MigrationPlan.ts"

const fileOf = (id: number) => `${String(id).padStart(4, "0")}_step.sql`
const file = (id: number, text = `-- ${id}`) => migration(fileOf(id), text)
const tagOf = (files: ReadonlyArray<Migration>, applied: ReadonlyArray<Migration>) => {
  const result = plan(files, applied)
  return Result.isFailure(result) ? [result.failure._tag, result.failure.file] : ["applies", result.success.length]
}

const ids = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9999 }))).check(
  Schema.isMinLength(1),
  Schema.isMaxLength(12)
)
const distinct = (given: ReadonlyArray<number>) => [...new Set(given)].toSorted((a, b) => a - b)

describe("MigrationPlan", () => {
  it.prop(
    "wherever a history stops, the rest follows in order and nothing else does",
    { ids, at: Schema.Natural },
    ({ ids, at }) => {
      const files = distinct(ids).map((id) => file(id))
      const stop = at % (files.length + 1)
      assert.deepStrictEqual(plan(files.toReversed(), files.slice(0, stop)), Result.succeed(files.slice(stop)))
    }
  )

  it.prop("any applied file that is edited, renamed or gone is named", { ids, at: Schema.Natural }, ({ ids, at }) => {
    const files = distinct(ids).map((id) => file(id))
    const one = files[at % files.length] ?? file(1)
    const others = files.filter((other) => other !== one)
    assert.deepStrictEqual(tagOf([...others, file(one.id, "-- edited")], files), ["MigrationEdited", one.file])
    const renamed = migration(one.file.replace("step", "other"), one.text)
    assert.deepStrictEqual(tagOf([...others, renamed], files), ["MigrationRenamed", renamed.file])
    const newest = one.id > Math.max(0, ...others.map((other) => other.id))
    assert.deepStrictEqual(tagOf(others, files), [newest ? "DatabaseNewer" : "MigrationMissing", one.file])
  })

  it("a file slipped in below the newest applied one is refused, above it is applied", () => {
    assert.deepStrictEqual(tagOf([file(1), file(2), file(3)], [file(1), file(3)]), ["MigrationOutOfOrder", fileOf(2)])
    assert.deepStrictEqual(tagOf([file(1), file(3), file(4)], [file(1), file(3)]), ["applies", 1])
  })

  it("two files of one number are refused", () => {
    const twin = migration("0002_twin.sql", "--")
    assert.deepStrictEqual(tagOf([file(1), file(2), twin], []), ["MigrationNumberTaken", twin.file])
  })

  it("line ends of another system are no edit, a changed space is", () => {
    assert.strictEqual(file(1, "a\r\nb\r\n").checksum, file(1, "a\nb\n").checksum)
    assert.notStrictEqual(file(1, "a b").checksum, file(1, "a  b").checksum)
  })

  it("only four digits and a name make a migration", () => {
    const names = ["0001_a.sql", "schema.dump.sql", "1_a.sql", "0001-a.sql", "0001_a.sql.orig", "0001_A.sql"]
    assert.deepStrictEqual(
      names.filter((name) => fileForm.test(name)),
      ["0001_a.sql"]
    )
  })
})
