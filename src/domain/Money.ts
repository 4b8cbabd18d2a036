/**
 * Money as integers. An amount counts the smallest unit of its currency (cents, yen, fils), is positive,
 * and never exceeds what JSON carries exactly (RFC 8259, section 6: 2^53 - 1).
 */
import { Schema } from "effect"

/** Minor units: 1050 of USD is $10.50, 1050 of JPY is ¥1050. */
export const MinorUnits = Schema.Int.pipe(
  Schema.check(Schema.isBetween({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })),
  Schema.brand("MinorUnits")
)
export type MinorUnits = typeof MinorUnits.Type

const twoDigits =
  "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW " +
  "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR " +
  "ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV " +
  "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD " +
  "SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"

const digits: ReadonlyMap<string, number> = new Map([
  ...twoDigits.split(" ").map((code) => [code, 2] as const),
  ..."BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ").map((code) => [code, 0] as const),
  ..."BHD IQD JOD KWD LYD OMR TND".split(" ").map((code) => [code, 3] as const),
  ..."CLF UYW".split(" ").map((code) => [code, 4] as const)
])

/** An active ISO 4217 code, upper case. Funds codes count; metals and test codes do not. */
export const Currency = Schema.String.pipe(
  Schema.check(Schema.makeFilter((code: string) => digits.has(code) || "an ISO 4217 currency code, upper case")),
  Schema.brand("Currency")
)
export type Currency = typeof Currency.Type

/** Decimal digits of the minor unit (ISO 4217): USD 2, JPY 0, KWD 3, CLF 4. */
export const exponent = (currency: Currency): number => digits.get(currency) ?? 2

/** For people: `format(1050, "USD")` is "10.50 USD". */
export const format = (amount: number, currency: Currency): string => {
  const places = exponent(currency)
  const padded = String(amount).padStart(places + 1, "0")
  return `${places === 0 ? padded : `${padded.slice(0, -places)}.${padded.slice(-places)}`} ${currency}`
}
