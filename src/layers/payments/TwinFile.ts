/**
 * Where the twin keeps its book: one JSON line an entry, each appended by a single write before anybody is told
 * of it, so that `kill -9` loses nothing that was answered. A torn last line was never told to anyone and is cut
 * off; any other line that cannot be read stops the start, since guessing about money is worse. It survives the
 * process, not a power cut: nothing is flushed to the disk. One twin a file, guarded by a lock that the kernel
 * lets go of when its holder dies, however it dies.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { connect, createServer } from "node:net"
import * as os from "node:os"
import * as path from "node:path"

import { Data, Duration, Effect, Result, Schedule, Schema } from "effect"

import { Entry } from "./TwinBook.ts"

export class TwinFileError extends Data.TaggedError("TwinFileError")<{ readonly file: string; readonly why: string }> {
  override get message() {
    return `${this.file}: ${this.why}`
  }
}

/** An earlier twin that is on its way out gets this long to let go of the file. */
const lockWait = Duration.seconds(3)

const Line = Schema.fromJsonString(Entry)
const read = Schema.decodeUnknownResult(Line)
const spell = Schema.encodeSync(Line)

export const open = Effect.fnUntraced(function* (file: string) {
  const refuse = (why: string) => new TwinFileError({ file, why })
  const attempt = <A>(evaluate: () => A) =>
    Effect.try({ try: evaluate, catch: (cause) => refuse(cause instanceof Error ? cause.message : String(cause)) })

  const whole = path.resolve(file)
  yield* attempt(() => fs.mkdirSync(path.dirname(whole), { recursive: true }))
  yield* lock(path.join(yield* attempt(() => fs.realpathSync(path.dirname(whole))), path.basename(whole))).pipe(
    Effect.retry(Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: lockWait }))),
    Effect.mapError(() => refuse("another twin uses this file"))
  )
  const descriptor = yield* Effect.acquireRelease(
    attempt(() => fs.openSync(whole, "a+", 0o600)),
    (descriptor) => Effect.sync(() => fs.closeSync(descriptor))
  )
  const bytes = yield* attempt(() => fs.readFileSync(whole))
  const end = bytes.lastIndexOf(0x0a) + 1
  yield* attempt(() => fs.ftruncateSync(descriptor, end))

  const entries: Array<Entry> = []
  const lines = bytes.toString("utf8", 0, end).split("\n").slice(0, -1)
  for (const [index, line] of lines.entries()) {
    const entry = read(line)
    if (Result.isFailure(entry)) return yield* refuse(`line ${index + 1} cannot be read`)
    entries.push(entry.success)
  }

  const append = (entry: Entry) => {
    const bytes = Buffer.from(`${spell(entry)}\n`)
    const written = fs.writeSync(descriptor, bytes)
    if (written === bytes.length) return
    // A full disk: take the half line back, so that the next entry does not become a part of it.
    fs.ftruncateSync(descriptor, fs.fstatSync(descriptor).size - written)
    throw new Error(`${file} takes no more`)
  }
  return { entries, append }
})

/** Where the kernel keeps names of sockets itself, nothing is left behind; elsewhere a stale one is recognised. */
const lockName = (file: string) => {
  const name = `cribwork-twin-${createHash("sha256").update(file).digest("hex").slice(0, 24)}`
  if (process.platform === "linux") return `\0${name}`
  return process.platform === "win32" ? `\\\\.\\pipe\\${name}` : path.join(os.tmpdir(), `${name}.sock`)
}

const lock = (file: string) => {
  const name = lockName(file)
  return Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>, "held">((resume) => {
      const holder = createServer((socket) => socket.destroy())
        .once("error", () => {
          if (!path.isAbsolute(name) || process.platform === "win32") return resume(Effect.fail("held"))
          const probe = connect(name)
          probe
            .once("connect", () => {
              probe.destroy()
              resume(Effect.fail("held"))
            })
            .once("error", () => {
              fs.rmSync(name, { force: true })
              resume(Effect.fail("held"))
            })
        })
        .listen(name, () => resume(Effect.succeed(holder.unref())))
    }),
    (holder) =>
      Effect.callback<void>((resume) => {
        holder.close(() => resume(Effect.void))
      })
  )
}
