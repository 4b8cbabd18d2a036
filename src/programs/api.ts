/** Answers HTTP: takes charges in, tells what became of them. Start as many as you like on one database. */
import { Layer } from "effect"
import { HttpServer } from "effect/http"

import * as Features from "./stacks/Features.ts"
import { launch } from "./stacks/Launch.ts"
import { stack } from "./stacks/Live.ts"

launch("api", HttpServer.withLogAddress(Features.api).pipe(Layer.provide([stack.books, stack.limiter, stack.provider])))
