/**
 * The HTTP server: Node's, with every bound of the settings page on it, the contract's routes, and one door
 * in front of them. It stops in order: no new connections, what is being answered is answered within the
 * drain time, then the connections end, and only after that do the layers that the routes use close.
 */
import { createServer, type IncomingMessage, type Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"

import { NodeHttpServer } from "@effect/platform-node"
import { ByteSize, Duration, Effect, Layer, Schedule } from "effect"
import { SecureRandom } from "effect/crypto"
import { HttpIncomingMessage, HttpRouter } from "effect/http"
import type { HttpApi, HttpApiGroup } from "effect/http-api"

import { Readiness } from "../platform/Readiness.ts"
import { Settings } from "../platform/Settings.ts"
import { allowedIn, strictPaths } from "./Allowed.ts"
import * as Arrivals from "./Arrivals.ts"
import * as Budgets from "./Budgets.ts"
import * as Entrance from "./Entrance.ts"
import * as HttpMetrics from "./HttpMetrics.ts"
import { InFlight, watch } from "./InFlight.ts"
import * as RawProblems from "./RawProblems.ts"
import { RequestBudget } from "./RequestBudget.ts"
import * as SpanPaths from "./SpanPaths.ts"

/** How often Node looks for requests that are late, as a share of the shortest time it enforces. */
const lateChecks = 4

/** How often a stopping server looks whether its answers are out. */
const drainEvery = Duration.millis(5)

type Bounds = Settings["Service"]

const millis = (duration: Duration.Duration) => Math.max(1, Math.round(Duration.toMillis(duration)))

/**
 * An answer that is one text is written in one piece. Effect asks Node to hold each answer to the length it
 * declares, and for that Node writes head and end apart, which costs about a tenth of a short request; the length
 * of a text is counted from that text. Streams stay checked.
 */
class Answer extends ServerResponse<IncomingMessage> {
  override end(...given: ReadonlyArray<unknown>): this {
    if (typeof given[0] === "string") this.strictContentLength = false
    return super.end(...(given as []))
  }
}

const makeServer = (settings: Bounds): Server => {
  const requestTimeout = millis(settings.requestTimeout)
  // Node refuses a head that may take longer than the request it is part of.
  const headersTimeout = Math.min(millis(settings.headersTimeout), requestTimeout)
  const server = createServer({
    ServerResponse: Answer,
    requestTimeout,
    headersTimeout,
    connectionsCheckingInterval: Math.max(10, Math.floor(headersTimeout / lateChecks)),
    keepAliveTimeout: millis(settings.keepAlive),
    maxHeaderSize: settings.headersMax,
    // The door says it with a body.
    requireHostHeader: false,
    // There is nothing to upgrade to: `Upgrade` may be ignored (RFC 9110, 7.8), and the request is answered.
    shouldUpgradeCallback: () => false
  })
  server.maxConnections = settings.connectionsMax
  // A client that neither sends nor reads: longer than any request, any answer and any wait together.
  server.timeout = requestTimeout + millis(settings.answerTimeout) + millis(settings.waitMax)
  return server
}

/**
 * Waits until no connection carries an answer any more, but no longer than the drain time; then all end. Not
 * until all have closed by themselves, as Node would: one that a browser opened in advance never does.
 */
const drain = (server: Server, sockets: ReadonlySet<Socket>, within: Duration.Duration) =>
  Effect.sync(() => {
    server.close()
    return [...sockets].some(RawProblems.isAnswering)
  }).pipe(
    Effect.repeat({ schedule: Schedule.spaced(drainEvery), until: (isAnswering) => !isAnswering }),
    Effect.timeoutOrElse({ duration: within, orElse: () => Effect.logWarning("stopping with requests unanswered") }),
    Effect.ensuring(Effect.sync(() => server.closeAllConnections()))
  )

/**
 * Serves `routes`, which implement `api`. Provide this layer with whatever the routes need, so that it closes
 * first. Gives the bound address as `HttpServer`. Fails when a route has no time for what it waits for.
 */
export const layer = <Id extends string, Groups extends HttpApiGroup.Constraint, E, R>(
  api: HttpApi.HttpApi<Id, Groups>,
  routes: Layer.Layer<never, E, R>
) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const settings = yield* Settings
      yield* Budgets.check(api, settings)
      const readiness = yield* Readiness
      const arrivals = yield* Arrivals.make
      const context = yield* Effect.context<never>()
      const inFlight = new InFlight(settings.requestsMax)
      const budget = new RequestBudget(settings.answerTimeout, settings.waitMax)
      yield* watch(inFlight)

      const server = makeServer(settings)
      const sockets = new Set<Socket>()
      server.on("connection", (socket: Socket) => {
        sockets.add(socket)
        socket.once("close", () => sockets.delete(socket))
      })
      RawProblems.listen(server, {
        nextId: arrivals.id,
        onRefused: (reason) => HttpMetrics.refused(context, reason)
      })

      const door = Entrance.layer({
        allowed: allowedIn(api),
        arrivals,
        budget,
        inFlight,
        urlMax: settings.urlMax,
        isStopping: readiness.isStopping
      })
      const stopping = Layer.effectDiscard(
        Effect.addFinalizer(() => Effect.andThen(readiness.stop, drain(server, sockets, settings.drain)))
      )
      return stopping.pipe(
        Layer.provide(
          HttpRouter.serve(Layer.mergeAll(routes, door), {
            disableLogger: true,
            disableListenLog: true,
            routerConfig: strictPaths
          })
        ),
        Layer.provide(SpanPaths.layer(api)),
        Layer.provideMerge(
          NodeHttpServer.layer(() => server, {
            host: settings.host,
            port: settings.port,
            disablePreemptiveShutdown: true
          })
        ),
        Layer.provide(Layer.succeed(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(settings.bodyMax)))
      )
    })
  ).pipe(Layer.provide(SecureRandom.layerWebCrypto))
