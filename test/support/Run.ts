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

/** In an environment that holds no setting but those named, so that a program means its defaults. */
export const run = (
  program: string,
  args: ReadonlyArray<string>,
  cwd: string = root,
  settings: Readonly<Record<string, string>> = {}
): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const { PATH, HOME } = process.env
    execFile(program, args, { cwd, env: { PATH, HOME, ...settings } }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error)
      else resolve({ code: Number(error?.code ?? 0), stdout, stderr })
    })
  })
