/**
 * The page's script and style. The sources are TypeScript for the browser; they are bundled when a report is written,
 * and what came of the same sources and the same bundler is taken from the cache.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'

export interface ClientBundle {
  readonly script: string
  readonly style: string
}

/** Beside this file in a checkout; in a package, which has the compiled program in `dist`, where they are in a checkout. */
const BESIDE = join(import.meta.dirname, 'client')
const SOURCES = existsSync(join(BESIDE, 'main.ts'))
  ? BESIDE
  : join(import.meta.dirname, '../../../../harness/report/html/client')

/** `cache`: a directory of our own. What cannot be kept there is made again the next time. Throws what bundling throws. */
export async function clientBundle(cache: string): Promise<ClientBundle> {
  const file = join(cache, 'report-client', `${await identity()}.json`)
  const known = await readBundle(file)
  if (known) return known
  const made = await bundle()
  await keep(file, made).catch(() => {})
  return made
}

async function readBundle(file: string): Promise<ClientBundle | undefined> {
  try {
    const { script, style } = JSON.parse(await readFile(file, 'utf8'))
    return typeof script === 'string' && typeof style === 'string' ? { script, style } : undefined
  } catch {
    return undefined
  }
}

async function keep(file: string, made: ClientBundle): Promise<void> {
  const temporary = `${file}.${process.pid}`
  await mkdir(join(file, '..'), { recursive: true, mode: 0o700 })
  try {
    await writeFile(temporary, JSON.stringify(made), { mode: 0o600 })
    await rename(temporary, file)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Of everything that decides what comes out. */
async function identity(): Promise<string> {
  const hash = createHash('sha256')
  const require = createRequire(import.meta.url)
  for (const name of ['preact', 'esbuild'])
    hash.update(
      `${name} ${JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')).version}\n`,
    )
  const shared = [join(SOURCES, '../data.ts')]
  const own = (await readdir(SOURCES)).sort().map((name) => join(SOURCES, name))
  for (const path of [...shared, ...own]) if (existsSync(path)) hash.update(await readFile(path)).update('\0')
  return hash.digest('hex').slice(0, 32)
}

async function bundle(): Promise<ClientBundle> {
  const { build } = await import('esbuild')
  const { outputFiles } = await build({
    entryPoints: [join(SOURCES, 'main.ts'), join(SOURCES, 'page.css')],
    bundle: true,
    minify: true,
    write: false,
    outdir: '/',
    format: 'iife',
    target: 'es2023',
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'silent',
    // A package has no tsconfig.json, and what comes out may not depend on one.
    tsconfigRaw: '{}',
  })
  const text = (extension: string): string => {
    const [file] = outputFiles.filter(({ path }) => path.endsWith(extension))
    if (!file) throw new Error(`bundling the report's page made no ${extension} file`)
    return file.text
  }
  return { script: text('.js'), style: text('.css') }
}
