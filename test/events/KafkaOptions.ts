/** The live broker as the suites use it. */
import { Option } from "effect"

import type { Options } from "../../src/layers/events/KafkaJsEventBus.ts"
import { suitePartitions } from "./EventBus.suite.ts"

export const kafkaOptions = (brokers: string): Options => ({
  brokers: brokers.split(","),
  clientId: "cribwork-test",
  tls: false,
  sasl: Option.none(),
  partitions: suitePartitions,
  replication: 1,
  topics: []
})
