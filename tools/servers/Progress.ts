/** What the person at the terminal reads. Long work says every few seconds that it is still going on. */

const sayEveryMillis = 5_000

export const say = (line: string): void => {
  process.stdout.write(`${line}\n`)
}

/** Runs `work`; while it lasts, repeats `label` with the seconds it has taken. */
export const during = async <A>(label: string, work: () => Promise<A>): Promise<A> => {
  const begun = performance.now()
  const timer = setInterval(
    () => say(`  ${label} (${Math.round((performance.now() - begun) / 1000)} s)`),
    sayEveryMillis
  )
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}
