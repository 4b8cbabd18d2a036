/** Why something was done, for the audit log. */
import { Schema } from "effect"
import { Flag } from "effect/cli"

const Reason = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(500))

export const reason = Flag.String("reason").pipe(
  Flag.withSchema(Reason),
  Flag.withDescription("Why, for the audit log: 1 to 500 characters")
)
