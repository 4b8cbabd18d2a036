/**
 * The provider's twin in a process of its own, so that it can be killed, and dies, apart from us. It is started
 * again on the same port, with backoff, whenever it ends. It ends with our scope, and when we are killed: it
 * holds a pipe of ours and follows it. In its own process group, or Ctrl-C in a terminal would end it before the
 * calls that are still under way.
 */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

import { Context, Data, Deferred, Duration, Effect, Layer, Option, Redacted, Ref, Schema } from "effect"

import { Settings } from "../platform/Settings.ts"
import { PspUrl } from "./HttpPsp.ts"

export class TwinProcessError extends Data.TaggedError("TwinProcessError")<{
  readonly message: string
  /** Somebody ended it; it did not refuse to run. */
  readonly killed: boolean
}> {}

/** What a script needs to look into the twin and to switch its tokens. */
export class TwinAccess extends Context.Service<
  TwinAccess,
  {
    readonly url: string
    readonly token: Redacted.Redacted
    /** Of the process that runs now; none between two. */
    readonly pid: Effect.Effect<Option.Option<number>>
  }
>()("cribwork/payments/TwinProcess/TwinAccess") {}

/** A twin that does not listen by then is not coming. */
const startTimeout = Duration.seconds(20)
/** Starts that are tried while twins are killed before they listen. */
const startsMax = 5
/** How long a stopping one gets before it is killed. */
const stopTimeout = Duration.seconds(3)
const restartBase = Duration.millis(50)
const restartCap = Duration.seconds(2)

const program = fileURLToPath(
  new URL(`../../programs/psp-twin${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url)
)

const readAnnouncement = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ twin: Schema.String })))

const make = Effect.gen(function* () {
  const settings = yield* Settings
  const token = Option.getOrElse(settings.twinToken, () => Redacted.make(randomBytes(24).toString("base64url")))
  const pid = yield* Ref.make(Option.none<number>())
  const first = yield* Deferred.make<string, TwinProcessError>()

  const start = (port: number) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [program], {
          detached: true,
          stdio: ["pipe", "pipe", "inherit"],
          env: {
            HOST: "127.0.0.1",
            TWIN_PORT: String(port),
            TWIN_FILE: settings.twinFile,
            TWIN_TOKEN: Redacted.value(token),
            TWIN_FOLLOW_STDIN: "true",
            PSP_API_KEY: Option.match(settings.pspKey, { onNone: () => "", onSome: Redacted.value })
          }
        })
      ),
      stop
    )

  /** One life of the twin; ends when the process does. */
  const live = (port: number) =>
    Effect.gen(function* () {
      const child = yield* start(port)
      const url = yield* announced(child)
      yield* Ref.set(pid, Option.fromUndefinedOr(child.pid))
      yield* Deferred.succeed(first, url)
      yield* ended(child)
    }).pipe(Effect.ensuring(Ref.set(pid, Option.none())), Effect.scoped)

  const keepAlive = (port: number) =>
    Effect.gen(function* () {
      let failures = 0
      while (true) {
        yield* Effect.sleep(Duration.min(Duration.times(restartBase, 2 ** failures), restartCap))
        const born = yield* Effect.exit(live(port))
        failures = born._tag === "Success" ? 0 : Math.min(failures + 1, 10)
        yield* Effect.logWarning("the provider's twin ended and is started again")
      }
    })

  yield* live(settings.twinPort).pipe(
    Effect.retry({ times: startsMax - 1, while: ({ killed }) => killed }),
    Effect.tapError((error) => Deferred.fail(first, error)),
    Effect.andThen(Effect.flatMap(Deferred.await(first), (url) => keepAlive(Number(new URL(url).port)))),
    Effect.ignore,
    Effect.forkScoped({ startImmediately: true })
  )
  const url = yield* Deferred.await(first)
  return Context.make(PspUrl, Redacted.make(url)).pipe(
    Context.add(TwinAccess, TwinAccess.of({ url, token, pid: Ref.get(pid) }))
  )
})

export const layer: Layer.Layer<PspUrl | TwinAccess, TwinProcessError, Settings> = Layer.effectContext(make)

/** The one line a twin says when it listens. */
const announced = (child: ChildProcess) =>
  Effect.callback<string, TwinProcessError>((resume) => {
    const refuse = (why: string, killed = false) => resume(Effect.fail(new TwinProcessError({ message: why, killed })))
    child.once("error", (error) => refuse(error.message))
    child.once("exit", (code, signal) =>
      refuse(`the twin ended with ${signal ?? code} before it listened`, signal !== null)
    )
    if (child.stdout === null) return refuse("the twin has no output")
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = readAnnouncement(line)
      if (Option.isSome(said)) resume(Effect.succeed(said.value.twin))
    })
  }).pipe(
    Effect.timeoutOrElse({
      duration: startTimeout,
      orElse: () => Effect.fail(new TwinProcessError({ message: "the twin does not listen", killed: false }))
    })
  )

const ended = (child: ChildProcess) =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
  })

const stop = (child: ChildProcess) =>
  Effect.sync(() => child.kill("SIGTERM")).pipe(
    Effect.andThen(ended(child)),
    Effect.timeoutOrElse({
      duration: stopTimeout,
      orElse: () =>
        Effect.andThen(
          Effect.sync(() => child.kill("SIGKILL")),
          ended(child)
        )
    })
  )
