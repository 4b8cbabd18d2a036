/** What stands on the twin's cards: one for each of its tokens. */

export interface Card {
  readonly brand: string
  readonly last4: string
  readonly exp_month: number
  readonly exp_year: number
}

const card = (brand: string, last4: string): Card => ({ brand, last4, exp_month: 12, exp_year: 2034 })

const cards: Readonly<Record<string, Card>> = {
  tok_visa: card("visa", "4242"),
  tok_declined: card("visa", "0002"),
  tok_timeout: card("mastercard", "4444"),
  tok_busy: card("amex", "0005"),
  tok_slow: card("mastercard", "8210"),
  tok_dead: card("discover", "1117")
}

export const of = (token: string): Card | undefined => (Object.hasOwn(cards, token) ? cards[token] : undefined)
