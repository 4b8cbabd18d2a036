/**
 * The reckoning after the faults: five accounts of the same money, each kept by somebody else, must agree:
 * what the provider captured, what the ledger posted, what the charges say, what the events say, and what the
 * clients were told. Pure; `Books.ts` fetches what is compared.
 */
export interface Charge {
  readonly id: string
  readonly tenant: string
  readonly key: string
  readonly state: string
  readonly amount: number
  readonly currency: string
  readonly pspKey: string
  /** Rows that were written before a byte left. */
  readonly attempts: number
}

/** The end of a hold: `post` moves its money, `void` gives it back. */
export interface Transfer {
  readonly kind: string
  readonly charge: string
  readonly amount: number
}

export interface Event {
  readonly id: string
  readonly type: string
  readonly charge: string
  readonly sequence: number
}

export interface Capture {
  readonly pspKey: string
  /** Requests that arrived at the provider under the key. */
  readonly sends: number
  readonly amount: number
  readonly currency: string
}

export interface Told {
  readonly tenant: string
  readonly key: string
  readonly amount: number
  readonly answers: ReadonlyArray<{ readonly status: number; readonly text: string }>
}

export interface Accounts {
  readonly charges: ReadonlyArray<Charge>
  readonly transfers: ReadonlyArray<Transfer>
  /** In the order of the bus; a repeat carries the id of the first. */
  readonly events: ReadonlyArray<Event>
  readonly captures: ReadonlyArray<Capture>
  readonly told: ReadonlyArray<Told>
}

const statusOf: Readonly<Record<string, number>> = { succeeded: 201, failed: 402 }

const nameOf = ({ tenant, key }: { readonly tenant: string; readonly key: string }) => `${tenant} ${key}`

const groupOf = <A>(all: ReadonlyArray<A>, name: (one: A) => string) => Map.groupBy(all, name)

/** Every disagreement, in words. */
export const complaints = (accounts: Accounts): ReadonlyArray<string> => {
  const said: Array<string> = []
  const captures = groupOf(accounts.captures, ({ pspKey }) => pspKey)
  const transfers = groupOf(accounts.transfers, ({ charge }) => charge)
  const events = groupOf(accounts.events, ({ charge }) => charge)
  const told = groupOf(accounts.told, nameOf)
  const named = groupOf(accounts.charges, nameOf)

  for (const [name, charges] of named) {
    if (charges.length !== 1) said.push(`${name} made ${charges.length} charges`)
    if (!told.has(name)) said.push(`${name} was charged for nobody`)
  }
  for (const one of accounts.told) {
    const [charge] = named.get(nameOf(one)) ?? []
    if (charge === undefined) said.push(`${nameOf(one)} was told of a charge that is not there`)
    if (new Set(one.answers.map(({ status, text }) => `${status} ${text}`)).size !== 1) {
      said.push(`${nameOf(one)} was told ${JSON.stringify(one.answers)}`)
    }
  }

  for (const charge of accounts.charges) {
    const { id, state, amount, currency } = charge
    const captured = captures.get(charge.pspKey) ?? []
    const ended = (transfers.get(id) ?? []).filter(({ kind }) => kind !== "hold")
    const captureMax = state === "succeeded" ? 1 : 0
    if (state !== "succeeded" && state !== "failed") said.push(`${id} is ${state}`)
    if (captured.length !== captureMax) said.push(`${id} is ${state}, and was captured ${captured.length} times`)
    if (captured.some((one) => one.amount !== amount || one.currency !== currency)) {
      said.push(`${id} is of ${amount} ${currency}, and the provider says ${JSON.stringify(captured)}`)
    }
    const sends = Math.max(0, ...captured.map((one) => one.sends))
    if (sends > charge.attempts) said.push(`${id} was sent ${sends} times in ${charge.attempts} attempts`)
    const end = state === "succeeded" ? "post" : "void"
    if (ended.length !== 1 || ended[0]?.kind !== end || ended[0].amount !== amount) {
      said.push(`${id} is ${state} of ${amount}, and its hold ended so: ${JSON.stringify(ended)}`)
    }
    const [asked] = told.get(nameOf(charge)) ?? []
    if (asked !== undefined && asked.amount !== amount) said.push(`${id} is of ${amount}, not of ${asked.amount}`)
    const answers = asked?.answers ?? []
    for (const { status, text } of answers) {
      if (status !== statusOf[state] || !text.includes(id)) said.push(`${id} is ${state}, and was told: ${text}`)
    }
    said.push(...ofEvents(id, state, events.get(id) ?? []))
  }

  const ours = new Set(accounts.charges.map(({ pspKey }) => pspKey))
  for (const pspKey of captures.keys()) if (!ours.has(pspKey)) said.push(`${pspKey} was captured for no charge`)
  const ids = new Set(accounts.charges.map(({ id }) => id))
  for (const id of events.keys()) if (!ids.has(id)) said.push(`${id} was announced, and is no charge`)
  return said
}

/** Repeats are dropped as a consumer drops them; then the numbers are 1, 2, …, and one event says how it ended. */
const ofEvents = (charge: string, state: string, events: ReadonlyArray<Event>): ReadonlyArray<string> => {
  const said: Array<string> = []
  const firsts: Array<Event> = []
  for (const event of events) {
    const before = firsts.find(({ sequence }) => sequence === event.sequence)
    if (before === undefined) firsts.push(event)
    else if (before.id !== event.id) said.push(`${charge} has two events ${event.sequence}`)
  }
  if (firsts.some(({ sequence }, at) => sequence !== at + 1)) {
    said.push(`${charge} was announced in the order ${firsts.map(({ sequence }) => sequence).join(", ")}`)
  }
  const types = firsts.map(({ type }) => type)
  if (types.length !== 1 || types[0] !== `charge.${state}`)
    said.push(`${charge} is ${state}, and announced as ${types.join(", ") || "nothing"}`)
  return said
}
