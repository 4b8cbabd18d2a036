/**
 * Tells a card number from a token, so that one sent by mistake is refused before it is stored or logged.
 * 12 to 19 digits (ISO/IEC 7812), spaces and dashes aside, whose Luhn sum fits.
 */
export const looksLikeCardNumber = (text: string): boolean => {
  const digits = text.replace(/[\s-]/g, "")
  if (!/^\d{12,19}$/.test(digits)) return false
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48
    const weighed = i % 2 === 1 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return sum % 10 === 0
}
