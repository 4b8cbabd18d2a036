import * as MemoryEventBus from "../../src/layers/events/MemoryEventBus.ts"
import { eventBusSuite, suitePartitions } from "./EventBus.suite.ts"

eventBusSuite("memory", MemoryEventBus.layerWith({ partitions: suitePartitions }))
