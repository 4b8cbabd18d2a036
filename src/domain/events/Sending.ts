/**
 * What of a claimed stream can be sent. The events of a stream leave in their order, so one that cannot leave
 * cuts off whatever follows it, and nothing else.
 */
import { Result } from "effect"

import { type BusRecord, toRecord } from "./Envelope.ts"
import type { Claim, Published } from "./EventOutbox.ts"

/** The event before which a stream has to stop, and why. */
export interface Poison {
  readonly sequence: number
  readonly why: string
}

export interface Sending {
  readonly claim: Claim
  /** Of the first events of the claim, in order; empty when the very first one is poison. */
  readonly records: ReadonlyArray<BusRecord>
  readonly poison: Poison | undefined
}

export const sendingOf = (claim: Claim): Sending => {
  const records: Array<BusRecord> = []
  for (const event of claim.events) {
    const record = toRecord(event)
    if (Result.isFailure(record)) {
      return { claim, records, poison: { sequence: event.sequence, why: record.failure.why } }
    }
    records.push(record.success)
  }
  return { claim, records, poison: undefined }
}

/** The same without its first refused record and what follows it; untouched when none of its records was refused. */
export const cut = (sending: Sending, refused: ReadonlyMap<BusRecord, string>): Sending => {
  const at = sending.records.findIndex((record) => refused.has(record))
  const record = sending.records[at]
  const event = sending.claim.events[at]
  return record === undefined || event === undefined
    ? sending
    : {
        claim: sending.claim,
        records: sending.records.slice(0, at),
        poison: { sequence: event.sequence, why: refused.get(record) ?? "" }
      }
}

/** What may be forgotten once the records were acknowledged; `undefined` when there were none. */
export const publishedOf = ({ claim, records }: Sending): Published | undefined => {
  const last = claim.events[records.length - 1]
  return last === undefined
    ? undefined
    : { topic: claim.topic, key: claim.key, epoch: claim.epoch, through: last.sequence }
}
