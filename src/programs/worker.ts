/** Carries accepted charges to the payment provider and settles them. Leave it running; start as many as you like. */
import { Layer } from "effect"

import * as Features from "./stacks/Features.ts"
import { launch } from "./stacks/Launch.ts"
import { stack } from "./stacks/Live.ts"

launch("worker", Features.worker.pipe(Layer.provide([stack.books, stack.provider])))
