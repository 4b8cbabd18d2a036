/**
 * What this process remembers of addresses, so that a good key pays nothing for the budget of failed
 * authentications: an address is trusted for a while after a good key, refused for a while after a spent
 * budget, and unknown otherwise. Holds at most `addressesMax`, dropping the one learned first; a dropped
 * address is only unknown again, and the limiter still knows.
 */

/** Enough for the busy addresses of a day behind one process; about 10 MB when full. */
const addressesMax = 65_536

/** How long a good key speaks for its address. */
const trustMillis = 60_000

type Standing = { readonly trusted: boolean; readonly untilMillis: number }

export class AddressBook {
  readonly #standings = new Map<string, Standing>()

  /** `refused` says for how long; `trusted` and `unknown` differ in whether the limiter has to be asked. */
  standing(address: string, nowMillis: number): "trusted" | "unknown" | { readonly refusedMillis: number } {
    const known = this.#standings.get(address)
    if (known === undefined) return "unknown"
    if (known.untilMillis <= nowMillis) {
      this.#standings.delete(address)
      return "unknown"
    }
    return known.trusted ? "trusted" : { refusedMillis: known.untilMillis - nowMillis }
  }

  trust(address: string, nowMillis: number): void {
    this.#keep(address, { trusted: true, untilMillis: nowMillis + trustMillis })
  }

  refuse(address: string, nowMillis: number, forMillis: number): void {
    this.#keep(address, { trusted: false, untilMillis: nowMillis + forMillis })
  }

  #keep(address: string, standing: Standing): void {
    if (this.#standings.size >= addressesMax && !this.#standings.has(address)) {
      for (const first of this.#standings.keys()) {
        this.#standings.delete(first)
        break
      }
    }
    this.#standings.set(address, standing)
  }
}
