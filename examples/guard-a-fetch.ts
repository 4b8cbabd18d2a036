/** No Effect anywhere: a breaker around `fetch`, and what its caller sees when the shop behind it goes down. */
import { BreakerRefusal, makeBreakers } from "cribwork/breakers/fetch"

const breakers = makeBreakers({ failuresMax: 3 })
const shop = breakers.fetch("shop", { timeoutMillis: 2000 })

const price = async (url: string) => {
  try {
    const response = await shop(url)
    return `${response.status} ${await response.text()}`
  } catch (error) {
    if (error instanceof BreakerRefusal) return `not asked: ${error.path.join(" > ")} is ${error.reason}`
    return `asked: ${String(error)}`
  }
}

console.log(await price("data:,12.50"))
// Nobody listens on port 1.
for (let n = 0; n < 5; n++) console.log(await price("http://127.0.0.1:1/"))

await breakers.close()
