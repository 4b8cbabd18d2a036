/** A program run to its end, as a person in a shell would see it. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"

/** The clone. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** In an environment that holds no setting, so that a program means its defaults. */
export const run = (program: string, args: ReadonlyArray<string>, cwd: string = root): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const { PATH, HOME } = process.env
    execFile(program, args, { cwd, env: { PATH, HOME } }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error)
      else resolve({ code: Number(error?.code ?? 0), stdout, stderr })
    })
  })
