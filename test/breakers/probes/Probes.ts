/**
 * Eight questions that a careful engineer asks of a circuit breaker before believing in it. In real time, but
 * nothing depends on how fast the machine is: a window is slept through, which no delay makes shorter, and
 * everything else is waited for, or given a number of turns of the event loop to happen in.
 */
import { setImmediate, setTimeout } from "node:timers/promises"

import { threshold, windowMillis } from "./Subject.ts"
import type { Subject } from "./Subject.ts"

/** Much more than any subject takes for what needs no timer. */
const turnsMax = 200
const callers = 100

interface Probe {
  readonly title: string
  readonly wanted: string | number
  readonly ask: (subject: Subject) => Promise<string | number>
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < turnsMax; turn++) await setImmediate()
}

const down = () => Promise.reject(new Error("down"))
const up = () => Promise.resolve()

/** Fails calls until it opens, so that it makes no difference how it counts. */
const trip = async (subject: Subject): Promise<void> => {
  for (let call = 0; call < threshold && (await subject.state()) !== "open"; call++) await subject.call(down)
}

/** A fifth more than the window, and so later than any timer that was set for its end. */
const tripAndWait = async (subject: Subject): Promise<void> => {
  await trip(subject)
  await setTimeout(windowMillis * 1.2)
}

/** A call that is under way until it is told how it ends; `cancel` tells it that nobody waits any more. */
const hang = (subject: Subject) => {
  const gate = Promise.withResolvers<void>()
  const controller = new AbortController()
  const seen = { running: false }
  const answered = subject.call((signal) => {
    seen.running = true
    signal.addEventListener("abort", () => gate.reject(signal.reason), { once: true })
    return gate.promise
  }, controller.signal)
  return {
    seen,
    succeed: () => (gate.resolve(), answered),
    fail: () => (gate.reject(new Error("late")), answered),
    cancel: () => controller.abort()
  }
}

/** A hundred callers at the end of the window, of a dependency that answers when it is told to. */
const crowd = async (subject: Subject) => {
  await tripAndWait(subject)
  const gate = Promise.withResolvers<void>()
  const seen = { called: 0, refused: 0 }
  const caller = async () => {
    const answer = await subject.call(() => {
      seen.called++
      return gate.promise
    })
    if (answer === "refused") seen.refused++
  }
  const all = Array.from({ length: callers }, caller)
  await turns()
  const before = { ...seen }
  gate.resolve()
  await Promise.all(all)
  return { called: before.called, refused: before.refused, released: seen.called - before.called }
}

export const probes = {
  opening: {
    title: "opens at the threshold",
    wanted: "closed, closed, open, refused",
    ask: async (subject) => {
      const seen: Array<string> = []
      for (let call = 0; call < threshold; call++) {
        await subject.call(down)
        seen.push(await subject.state())
      }
      return [...seen, await subject.call(up)].join(", ")
    }
  },
  oneProbe: {
    title: "calls the dependency once for a hundred callers on half-open",
    wanted: 1,
    ask: async (subject) => (await crowd(subject)).called
  },
  refusals: {
    title: "refuses the rest of them at once",
    wanted: callers - 1,
    ask: async (subject) => (await crowd(subject)).refused
  },
  burst: {
    title: "releases nobody in one burst when the probe succeeds",
    wanted: 0,
    ask: async (subject) => (await crowd(subject)).released
  },
  lateSuccess: {
    title: "stays half-open when a call from before the trip succeeds",
    wanted: "half-open",
    ask: async (subject) => {
      const early = hang(subject)
      await tripAndWait(subject)
      const probe = hang(subject)
      await turns()
      await early.succeed()
      await turns()
      const state = await subject.state()
      await probe.succeed()
      return state
    }
  },
  lateFailures: {
    title: "stays closed when calls from before the trip fail after it closed again",
    wanted: "closed",
    ask: async (subject) => {
      const early = Array.from({ length: threshold }, () => hang(subject))
      await tripAndWait(subject)
      await subject.call(up)
      if ((await subject.state()) !== "closed") throw new Error("a good probe did not close it")
      for (const one of early) await one.fail()
      await turns()
      return subject.state()
    }
  },
  hungProbe: {
    title: "probes again when a probe never settles, within eight windows",
    wanted: "another call ran",
    ask: async (subject) => {
      await tripAndWait(subject)
      const hung = hang(subject)
      await setTimeout(8 * windowMillis)
      const next = hang(subject)
      await turns()
      const ran = next.seen.running
      await hung.succeed()
      await next.succeed()
      return ran ? "another call ran" : "none ran"
    }
  },
  cancelledProbe: {
    title: "stays half-open when its probe is cancelled, and the next call runs",
    wanted: "half-open, next call ran",
    ask: async (subject) => {
      await tripAndWait(subject)
      const probe = hang(subject)
      await turns()
      probe.cancel()
      await turns()
      const state = await subject.state()
      const next = hang(subject)
      await turns()
      const ran = next.seen.running
      await next.succeed()
      return `${state}, next call ${ran ? "ran" : "refused"}`
    }
  }
} satisfies Record<string, Probe>
