/** The provider commands in this process; the same rules as the SQL functions, on this process's clock. */
import { Clock, DateTime, Duration, Effect, Layer, Option } from "effect"

import { page } from "../../domain/Cursor.ts"
import { isSettled, type OperationState } from "../../domain/payments/Charge.ts"
import { type DeadLetter, type Lease, NoSuchDeadLetter, Outbox } from "../../domain/payments/Outbox.ts"
import { Settings } from "../platform/Settings.ts"
import { type Books, type Command, MemoryBooks, type Operation } from "./MemoryBooks.ts"

const make = Effect.gen(function* () {
  const books = yield* MemoryBooks
  const { pspLease, pspWindow } = yield* Settings
  const lease = Duration.toMillis(pspLease)
  /** An hour is longer than any request of ours can be on its way. */
  const resendable = Duration.toMillis(pspWindow) - 3_600_000

  const stage: Outbox["Service"]["stage"] = (id) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const operation = books.operations.get(id)
      if (operation === undefined || isSettled(chargeOf(books, operation).operationState)) return
      if (!books.commands.has(id)) stageCommand(books, operation, undefined, now)
    })

  const claim: Outbox["Service"]["claim"] = (_owner, limit) =>
    Effect.map(Clock.currentTimeMillis, (now) =>
      inTurn([...books.commands.values()].filter((command) => command.state !== "dead" && command.availableAt <= now))
        .slice(0, limit)
        .map((command): Lease => {
          const { operation } = command
          command.uncertain ||= command.state === "leased"
          command.state = "leased"
          command.epoch += 1
          command.attempts += 1
          command.availableAt = now + lease
          if (!command.uncertain) operation.firstSentAt = now
          attemptsOf(books, operation.id).push({
            number: command.attempts,
            epoch: command.epoch,
            startedAt: DateTime.makeUnsafe(now),
            finishedAt: Option.none(),
            class: "started",
            error: null
          })
          return {
            operation: operation.id,
            epoch: command.epoch,
            tenant: operation.tenant,
            key: operation.key,
            pspKey: operation.pspKey,
            charge: chargeOf(books, operation),
            attempts: command.attempts,
            uncertain: command.uncertain,
            sendable: !command.uncertain || now < operation.firstSentAt + resendable,
            traceparent: Option.fromUndefinedOr(command.traceparent)
          }
        })
    )

  const ack: Outbox["Service"]["ack"] = (lease, ack) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const command = books.commands.get(lease.operation)
      const done = command?.state === "leased" && command.epoch === lease.epoch
      const attempts = attemptsOf(books, lease.operation)
      const index = attempts.findIndex((attempt) => attempt.epoch === lease.epoch && Option.isNone(attempt.finishedAt))
      const attempt = attempts[index]
      const [kind, error] = ack._tag === "Park" ? (["not_sent", "parked"] as const) : ([ack.class, ack.error] as const)
      if (attempt !== undefined) {
        attempts[index] = { ...attempt, finishedAt: Option.some(DateTime.makeUnsafe(now)), class: kind, error }
      }
      if (!done) return false
      if (ack._tag === "Park") {
        command.attempts -= 1
      } else {
        command.uncertain ||= kind === "unknown"
        command.lastClass = kind
        command.lastError = error
        if (ack._tag === "Bury") become(books, command.operation, "needs_review")
        else if (kind === "unknown") become(books, command.operation, "unknown")
      }
      command.state = ack._tag === "Bury" ? "dead" : "ready"
      if (ack._tag === "Bury") command.buriedAt = now
      else command.availableAt = now + Duration.toMillis(ack.delay)
      return true
    })

  const dead = Effect.sync(() =>
    [...books.commands.values()]
      .filter((command) => command.state === "dead")
      .map((command) => toDeadLetter(books, command))
      .toSorted((a, b) => (a.operation < b.operation ? 1 : -1))
  )

  const deadLetters: Outbox["Service"]["deadLetters"] = ({ limit, after }) =>
    Effect.map(dead, (letters) => {
      const before = Option.getOrElse(after, () => "g")
      return page(
        letters.filter((letter) => letter.operation < before).slice(0, limit + 1),
        limit,
        (letter) => letter.operation
      )
    })

  const deadLetter: Outbox["Service"]["deadLetter"] = (operation) =>
    Effect.flatMap(dead, (letters) => {
      const found = letters.find((letter) => letter.operation === operation || letter.charge.id === operation)
      return found === undefined ? Effect.fail(new NoSuchDeadLetter({ id: operation })) : Effect.succeed(found)
    })

  const redrive: Outbox["Service"]["redrive"] = ({ operations, limit, evidence }) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const chosen = [...books.commands.values()]
        .filter(
          ({ state, operation }) =>
            state === "dead" &&
            (operations === "all" || operations.includes(operation.id) || operations.includes(operation.charge))
        )
        .toSorted((a, b) => (a.operation.id < b.operation.id ? -1 : 1))
        .slice(0, limit)
      const isSafe = (command: Command) =>
        evidence || !command.uncertain || now < command.operation.firstSentAt + resendable
      const safe = chosen.filter(isSafe)
      const refused = chosen.filter((command) => !isSafe(command))
      for (const command of safe) {
        become(books, command.operation, command.uncertain ? "unknown" : "accepted")
        command.state = "ready"
        command.availableAt = now
        command.attempts = 0
        command.uncertain &&= !evidence
      }
      return { redriven: ids(safe), refused: ids(refused) }
    })

  return Outbox.of({ stage, claim, ack, deadLetters, deadLetter, redrive })
})

export const layer: Layer.Layer<Outbox, never, MemoryBooks | Settings> = Layer.effect(Outbox, make)

export const stageCommand = (
  books: Books,
  operation: Operation,
  traceparent: string | undefined,
  now: number
): void => {
  books.commands.set(operation.id, {
    operation,
    traceparent,
    state: "ready",
    availableAt: now,
    attempts: 0,
    epoch: 0,
    uncertain: false,
    lastClass: "started",
    lastError: "",
    buriedAt: 0
  })
}

const ids = (commands: ReadonlyArray<Command>) => commands.map((command) => command.operation.id)

/** The oldest of each tenant before the second of any. */
const inTurn = (due: ReadonlyArray<Command>): ReadonlyArray<Command> => {
  const taken = new Map<string, number>()
  return due
    .toSorted((a, b) => a.availableAt - b.availableAt)
    .map((command) => {
      const place = taken.get(command.operation.tenant) ?? 0
      taken.set(command.operation.tenant, place + 1)
      return { command, place }
    })
    .toSorted((a, b) => a.place - b.place)
    .map(({ command }) => command)
}

const attemptsOf = (books: Books, operation: string) => {
  const found = books.attempts.get(operation) ?? []
  books.attempts.set(operation, found)
  return found
}

const rowOf = (books: Books, operation: Operation) => {
  const row = books.charges.get(operation.charge)
  if (row === undefined) throw new Error("an operation without its charge")
  return row
}

const chargeOf = (books: Books, operation: Operation) => rowOf(books, operation).charge

const become = (books: Books, operation: Operation, operationState: OperationState) => {
  const row = rowOf(books, operation)
  row.charge = { ...row.charge, operationState }
}

const toDeadLetter = (books: Books, command: Command): DeadLetter => ({
  operation: command.operation.id,
  tenant: command.operation.tenant,
  charge: chargeOf(books, command.operation),
  key: command.operation.key,
  pspKey: command.operation.pspKey,
  class: command.lastClass,
  error: command.lastError,
  attempts: command.attempts,
  buriedAt: DateTime.makeUnsafe(command.buriedAt),
  history: [...attemptsOf(books, command.operation.id)]
})
