import { TestClock } from "effect/testing"

import * as MemoryEventOutbox from "../../src/layers/events/MemoryEventOutbox.ts"
import { eventOutboxSuite, suiteBounds } from "./EventOutbox.suite.ts"

eventOutboxSuite("memory", MemoryEventOutbox.layerWith(suiteBounds), TestClock.adjust)
