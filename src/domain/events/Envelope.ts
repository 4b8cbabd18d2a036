/**
 * An event as it is staged, and the record it becomes on the bus: CloudEvents 1.0 in the binary mode of its
 * Kafka binding (a header for each attribute, the payload alone as value), plus the extensions `sequence`
 * and `prevsequence`, with which a consumer proves that it has seen all of a key.
 */
import { DateTime, Result, Schema } from "effect"

/** An event that some transaction wants to be known. */
export interface NewEvent {
  /** `<stream>.v<major>`. */
  readonly topic: string
  /** What the order is kept by, usually the id of an aggregate. */
  readonly key: string
  /** A uuid; the same event published twice carries the same one. */
  readonly id: string
  /** Past tense, as in `charge.succeeded`. */
  readonly type: string
  /**
   * Attributes that the envelope cannot know: `ce_source`, `ce_subject`, `ce_dataschema`, `content-type`,
   * `traceparent`, `ce_correlationid`, `ce_causationid`. What the envelope does know it overrides.
   */
  readonly headers: Readonly<Record<string, string>>
  /** JSON unless `content-type` says otherwise. */
  readonly payload: string
}

/** An event that waits in the outbox. */
export interface StagedEvent extends Omit<NewEvent, "headers"> {
  /** As read back. Whoever staged it in SQL may have written anything; `toRecord` checks. */
  readonly headers: unknown
  /** 1 for the first event of its (topic, key), then without gaps. */
  readonly sequence: number
  /** The sequence published before this one, 0 for the first. */
  readonly previous: number
  /** By the clock of the store, milliseconds since 1970. */
  readonly stagedAtMillis: number
}

/** What a bus carries. */
export interface BusRecord {
  readonly topic: string
  /** Unset: where `Partitioner.partitionOf` puts the key. */
  readonly partition?: number
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  readonly value: Uint8Array
}

/** This event can be published by no bus: its headers are not texts. */
export class Unserialisable extends Schema.TaggedError<Unserialisable>()("Unserialisable", { why: Schema.String }) {}

/** CloudEvents: the sequence is a text, ordered as text; so 19 digits, as many as a 64-bit integer can have. */
const sequenceText = (sequence: number) => String(sequence).padStart(19, "0")

/** CloudEvents: a URI reference that names the producer. A topic's stream is `payments` in `payments.v1`. */
const sourceOf = (topic: string) => `/${topic.replace(/\.v\d+$/, "")}`

const Headers = Schema.Record(Schema.String, Schema.String)
const decodeHeaders = Schema.decodeUnknownResult(Headers)
const encoder = new TextEncoder()

/** Header names are lower case and in one order, so that the same event always has the same bytes. */
export const toRecord = (event: StagedEvent): Result.Result<BusRecord, Unserialisable> =>
  Result.match(decodeHeaders(event.headers), {
    onFailure: () => Result.fail(new Unserialisable({ why: "headers must be an object of texts" })),
    onSuccess: (given) =>
      Result.succeed({
        topic: event.topic,
        key: event.key,
        headers: {
          ce_source: sourceOf(event.topic),
          ce_subject: event.key,
          "content-type": "application/json",
          ...given,
          ce_specversion: "1.0",
          ce_id: event.id,
          ce_type: event.type,
          ce_time: DateTime.formatIso(DateTime.makeUnsafe(event.stagedAtMillis)),
          ce_sequence: sequenceText(event.sequence),
          ce_prevsequence: sequenceText(event.previous)
        },
        value: encoder.encode(event.payload)
      })
  })

/** What a staged event may never be; `undefined` when nothing is wrong. Postgres holds no NUL in a text. */
export const whyUnstageable = (event: NewEvent): string | undefined => {
  if (event.topic === "" || event.key === "" || event.type === "") return "topic, key and type must not be empty"
  const texts = [event.topic, event.key, event.type, event.payload, ...Object.entries(event.headers).flat()]
  return texts.every((text) => text.isWellFormed() && !text.includes("\0"))
    ? undefined
    : "texts must be well-formed Unicode without NUL"
}

/** Bytes that a record takes on the wire, closely enough to keep below a broker's limit. */
export const sizeOf = (record: BusRecord): number => {
  let bytes = record.value.length + encoder.encode(record.key).length + recordOverhead
  for (const [name, value] of Object.entries(record.headers)) {
    bytes += name.length + encoder.encode(value).length + headerOverhead
  }
  return bytes
}

/** Varints of a Kafka record (format 2): lengths, deltas, attributes, header count; an upper bound. */
const recordOverhead = 36
const headerOverhead = 10
