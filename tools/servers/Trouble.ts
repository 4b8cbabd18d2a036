/** Something a person has to know or do before a server can run. The message is all they get: it must be enough. */
export class Trouble extends Error {
  override readonly name = "Trouble"
}

export const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
