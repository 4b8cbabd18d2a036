/** A shared house as a stage: whom one may hurt there, and what its database, its Kafka and its twin say after. */
import { Layer } from "effect"

import { topic } from "../../src/domain/payments/Settlement.ts"
import * as KafkaJsEventBus from "../../src/layers/events/KafkaJsEventBus.ts"
import { settings } from "../Postgres.ts"
import { keyOf } from "../support/KeyDesk.ts"
import type { SharedHouse } from "../support/SharedHouse.ts"
import { capturesOf, chargesIn, eventsOn, transfersIn, unbalancedIn, unrestIn } from "./Books.ts"
import type { Stage } from "./Storm.ts"

/** The topic as the programs use it. */
export const kafkaBus = (brokers: string) =>
  KafkaJsEventBus.layer(brokers.split(","), [topic]).pipe(Layer.provide(settings))

export const sharedStage = async (
  house: SharedHouse,
  brokers: string,
  victims: Stage["victims"] = {}
): Promise<Stage> => ({
  url: () => house.url,
  victims,
  callers: [
    { tenant: "acme", apiKey: (await keyOf(house.database, "acme")).apiKey },
    { tenant: "umbra", apiKey: (await keyOf(house.database, "umbra")).apiKey }
  ],
  books: {
    unrest: () => unrestIn(house.database),
    unbalanced: () => unbalancedIn(house.database),
    accounts: async () => {
      const charges = await chargesIn(house.database)
      const ours = new Set(charges.map(({ id }) => id))
      const events = await eventsOn(kafkaBus(brokers), ours)
      return {
        charges,
        transfers: await transfersIn(house.database),
        // The topic is everybody's who uses these brokers.
        events: events.filter(({ charge }) => ours.has(charge)),
        captures: await capturesOf(house.twinUrl)
      }
    }
  },
  crashes: house.crashes
})
