/**
 * Kafka from Maven Central, once for all checkouts: the jars, and an archive of loaded classes that halves
 * the start. Each is made beside its place and moved there whole; its folder is named after what it was
 * made from, so a new version never meets an old file.
 */
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"

import type { Home } from "./Home.ts"
import { canInstall, install, lastLines, run, which } from "./Machine.ts"
import { during, say } from "./Progress.ts"
import { Trouble } from "./Trouble.ts"

const pom = new URL("kafka/pom.xml", import.meta.url).pathname

/** Kafka 4 needs it. */
const javaLeast = 17
/** Newer Debians and Ubuntus no longer carry 17. */
const javaPackages = ["openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless"]
const jvmFolder = "/usr/lib/jvm"

export interface Java {
  readonly program: string
  /** What it calls itself: an archive of classes fits one build only. */
  readonly version: string
}

/** The major version, from what `java -version` prints: 17.0.15 is 17, 1.8.0 is 8. */
export const javaMajor = (output: string): number => {
  const [, first = "0", second = "0"] = /version "(\d+)(?:\.(\d+))?/.exec(output) ?? []
  return Number(first === "1" ? second : first)
}

const installedJava = async (): Promise<Java | undefined> => {
  const homes = fs.existsSync(jvmFolder) ? fs.readdirSync(jvmFolder).map((name) => path.join(jvmFolder, name)) : []
  const given = process.env["JAVA_HOME"]
  const onPath = which("java")
  const programs = [
    ...(given === undefined || given === "" ? [] : [path.join(given, "bin/java")]),
    ...(onPath === undefined ? [] : [onPath]),
    ...homes.map((home) => path.join(home, "bin/java"))
  ]
  for (const program of programs.filter((file) => fs.existsSync(file))) {
    const ran = await run(program, ["-version"])
    if (ran.code === 0 && javaMajor(ran.output) >= javaLeast) {
      return { program: fs.realpathSync(program), version: ran.output }
    }
  }
  return undefined
}

export const findJava = async (): Promise<Java> => {
  let found = await installedJava()
  if (found !== undefined) return found
  if (!canInstall()) {
    throw new Trouble(
      `Kafka needs Java ${javaLeast} or newer. As root: apt-get install ${javaPackages[0]} (macOS: brew install openjdk), or set JAVA_HOME, then run this again.`
    )
  }
  let first: Trouble | undefined
  for (const name of javaPackages) {
    await install(name).catch((trouble: Trouble) => (first ??= trouble))
    found = await installedJava()
    if (found !== undefined) return found
  }
  throw first ?? new Trouble(`none of ${javaPackages.join(", ")} brought Java ${javaLeast} or newer`)
}

const findMaven = async (): Promise<string> => {
  const found = which("mvn")
  if (found !== undefined) return found
  if (canInstall()) {
    await install("maven")
    const installed = which("mvn")
    if (installed !== undefined) return installed
  }
  throw new Trouble(
    "Maven fetches Kafka and is not installed. As root: apt-get install maven (macOS: brew install maven), then run this again."
  )
}

const digest = (...parts: ReadonlyArray<string>) =>
  createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 12)

/** Moves `half`, which lies in this checkout's own folder, to `whole`, unless another checkout was faster. */
const settle = (half: string, whole: string) => {
  fs.mkdirSync(path.dirname(whole), { recursive: true })
  if (!fs.existsSync(whole)) fs.renameSync(half, whole)
  fs.rmSync(half, { recursive: true, force: true })
}

/** The folder of jars; fetched when it is not there yet. */
export const kafkaJars = async (home: Home, java: Java): Promise<string> => {
  const folder = path.join(home.cache, "kafka", digest(fs.readFileSync(pom, "utf8")))
  const jars = path.join(folder, "lib")
  if (fs.existsSync(jars)) return jars
  const maven = await findMaven()
  // Maven writes folders of its own beside the pom: it gets a copy.
  const work = path.join(home.dir, "kafka-fetch")
  const half = path.join(work, "lib")
  fs.rmSync(work, { recursive: true, force: true })
  fs.mkdirSync(work)
  fs.copyFileSync(pom, path.join(work, "pom.xml"))
  const goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${half}`]
  say("  fetching Kafka (mvn, about 45 MB)")
  const ran = await during("fetching Kafka", () =>
    run(maven, ["-q", "-B", "-f", path.join(work, "pom.xml"), ...goal], {
      cwd: work,
      env: { JAVA_HOME: path.resolve(java.program, "../..") }
    })
  )
  if (ran.code !== 0) throw new Trouble(`mvn dependency:copy-dependencies failed:\n${lastLines(ran.output)}`)
  settle(half, jars)
  fs.rmSync(work, { recursive: true, force: true })
  return jars
}

/**
 * The class archive of these jars under this Java, made by `rehearse` when it is not there yet. It saves
 * time and nothing else: when the rehearsal fails, Kafka starts without.
 */
export const classArchive = async (
  home: Home,
  jars: string,
  java: Java,
  rehearse: (archive: string) => Promise<void>
): Promise<string | undefined> => {
  const archive = path.join(jars, "..", `classes-${digest(java.program, java.version)}.jsa`)
  if (fs.existsSync(archive)) return archive
  const half = path.join(home.dir, "classes.jsa")
  fs.rmSync(half, { force: true })
  say("  rehearsing a start of Kafka, once, to make the next ones quick")
  await during("rehearsing", () => rehearse(half)).catch((trouble: Error) => say(`  it failed: ${trouble.message}`))
  if (!fs.existsSync(half)) return undefined
  settle(half, archive)
  return archive
}
