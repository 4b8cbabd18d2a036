/**
 * A TCP proxy on loopback whose wire a test holds in its hand: it can hold back what is sent, lose what is
 * answered, cut connections and lead new ones elsewhere. What it hurts neither end can see in itself.
 */
import { connect, createServer } from "node:net"
import type { AddressInfo, Socket } from "node:net"

import { Effect } from "effect"

interface Wire {
  readonly here: Socket
  readonly there: Socket
}

export const make = (target: number) =>
  Effect.gen(function* () {
    const wires = new Set<Wire>()
    let aim = target
    let stalled = false
    let losing = false
    const flow = ({ here, there }: Wire) => {
      for (const socket of [here, there]) {
        if (stalled) socket.pause()
        else socket.resume()
      }
    }
    const server = createServer((here) => {
      const there = connect(aim, "127.0.0.1")
      const wire = { here, there }
      wires.add(wire)
      for (const socket of [here, there]) {
        socket.setNoDelay(true)
        socket
          .on("error", () => {})
          .on("close", () => {
            wires.delete(wire)
            here.destroy()
            there.destroy()
          })
      }
      here.on("data", (bytes) => there.write(bytes))
      there.on("data", (bytes) => losing || here.write(bytes))
      flow(wire)
    })
    const cut = Effect.sync(() => {
      for (const { here, there } of wires) {
        here.destroy()
        there.destroy()
      }
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () =>
        Effect.andThen(
          Effect.sync(() => server.close()),
          cut
        )
    )
    const stall = (on: boolean) =>
      Effect.sync(() => {
        stalled = on
        for (const wire of wires) flow(wire)
      })
    return {
      port: (server.address() as AddressInfo).port,
      /** Takes connections and moves nothing, either way, until `flow`. */
      stall: stall(true),
      flow: stall(false),
      /** Carries every request and loses every answer, until `hear`. */
      deafen: Effect.sync(() => {
        losing = true
      }),
      hear: Effect.sync(() => {
        losing = false
      }),
      /** Ends every connection, with what was held back on it; new ones are taken. */
      cut,
      /** Leads connections that are made from now on to another port. */
      aimAt: (port: number) =>
        Effect.sync(() => {
          aim = port
        })
    }
  })
