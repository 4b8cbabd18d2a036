/** One request and its answer over TCP, for servers whose first words are simple enough to write by hand. */
import { connect } from "node:net"

import { answerMillis } from "./Server.ts"

/** Sends `request` and collects the answer until `isWhole`. */
export const exchange = (port: number, request: Buffer, isWhole: (answer: Buffer) => boolean): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request))
    let answer = Buffer.alloc(0)
    const fail = (reason: string) => {
      socket.destroy()
      reject(new Error(reason))
    }
    socket.setTimeout(answerMillis, () => fail(`no answer within ${answerMillis} ms`))
    socket.on("error", (error) => fail(error.message))
    socket.on("close", () => fail("it closed the connection"))
    socket.on("data", (chunk) => {
      answer = Buffer.concat([answer, chunk])
      if (!isWhole(answer)) return
      resolve(answer)
      socket.destroy()
    })
  })
