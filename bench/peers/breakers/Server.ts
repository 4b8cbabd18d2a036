/**
 * A server that carries so many calls and no more: 3,000 a second when it is warm, a tenth of that when it has just
 * started, growing evenly over ten seconds. More than it carries within 100 ms, and it falls, is away for ten
 * seconds, and starts cold. An answer takes 20 ms; whoever calls while it is away is told at once.
 */
const warmRate = 3000
const coldRate = 300
const warmingMillis = 10_000
const awayMillis = 10_000
const answerMillis = 20
const bucketMillis = 100

export class Server {
  /** Calls in this tick. */
  asked = 0
  answered = 0
  falls = 0
  #now = 0
  #startedAt = -warmingMillis
  #awayUntil = 0
  #bucket = 0
  #inBucket = 0
  #waiting: Array<{ readonly due: number; readonly end: (error?: Error) => void }> = []

  get isUp(): boolean {
    return this.#now >= this.#awayUntil
  }

  pass(now: number): void {
    this.#now = now
    this.asked = 0
    if (Math.floor(now / bucketMillis) !== this.#bucket) {
      this.#bucket = Math.floor(now / bucketMillis)
      this.#inBucket = 0
    }
    while (this.#waiting[0] !== undefined && this.#waiting[0].due <= now) {
      this.answered++
      this.#waiting.shift()?.end()
    }
  }

  fall(until = this.#now + awayMillis): void {
    this.falls++
    this.#awayUntil = until
    this.#startedAt = until
    for (const { end } of this.#waiting) end(new Error("fell"))
    this.#waiting = []
  }

  call(): Promise<void> {
    this.asked++
    if (!this.isUp) return Promise.reject(new Error("away"))
    const warmth = Math.min(1, (this.#now - this.#startedAt) / warmingMillis)
    const carried = ((coldRate + (warmRate - coldRate) * warmth) * bucketMillis) / 1000
    if (++this.#inBucket > carried) {
      this.fall()
      return Promise.reject(new Error("fell"))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        due: this.#now + answerMillis,
        end: (error) => (error === undefined ? resolve() : reject(error))
      })
    })
  }
}
