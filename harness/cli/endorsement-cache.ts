/** Endorsements that were imported or fetched, one file each. Nothing in it is trusted for being there. */
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FormatError } from '../base/errors.ts'
import {
  type CacheEntry,
  cacheEntries,
  isAuthority,
  isVlekFor,
  LIST_PREFIX,
  QE_IDENTITY_NAME,
  tcbInfoName,
  vcekCacheName,
} from '../evidence/collect/cache-key.ts'
import { vcekIdentity } from '../evidence/snp/leaf.ts'
import type { SnpReport } from '../formats/snp/report.ts'
import { SNP_PRODUCTS } from '../formats/snp/tcb.ts'
import { writePrivateFile } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'

/** Files for one piece of evidence, as `verifyEvidence` takes them. */
export interface CachedFiles {
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
  readonly collateral: readonly Uint8Array[]
}

/** More than a fleet's chips would be a cache of somebody else's making. */
const MAX_FILES = 65_536

/** A verifier looks at no more certificates than 64. */
const MAX_CANDIDATES = 32
/** As the common names of the vendors' authorities begin, and of emulated ones, which only a policy can make count. */
const AMD_AUTHORITIES = ['SEV-', 'ARK-', 'SIMULATED ARK-']
const INTEL_AUTHORITIES = ['Intel SGX ', 'SIMULATED SGX ']

export class EndorsementCache {
  readonly directory: string

  constructor(directory: string = join(resolvePaths().cache, 'endorsements')) {
    this.directory = directory
  }

  /** Keeps what a file holds and says what that is; of two with the same name the one that is valid longer stays. */
  async import(file: Uint8Array): Promise<readonly CacheEntry[]> {
    const entries = cacheEntries(file)
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    for (const entry of entries) {
      const [old] = await this.#read(entry.name)
      if (old === undefined || entry.notAfter >= old.notAfter)
        await writePrivateFile(join(this.directory, entry.name), entry.bytes)
    }
    return entries
  }

  /** All entries, by name. What no longer parses is left out. */
  async list(): Promise<readonly CacheEntry[]> {
    const entries = await Promise.all((await this.#names()).map((name) => this.#read(name)))
    return entries.flat()
  }

  /** What may vouch for a report; of revocation lists only those that are current at `at`. */
  async forReport(report: SnpReport, at: Date): Promise<CachedFiles> {
    const lines = report.processor ? [report.processor.product] : SNP_PRODUCTS
    const leaves = lines.flatMap((line) => {
      const identity = vcekIdentity(report, line)
      return identity ? [vcekCacheName(identity)] : []
    })
    const tcb = report.reportedTcb.raw
    return this.#collect(at, (entry) => {
      const { name } = entry
      const isLeaf = leaves.includes(name) || lines.some((product) => isVlekFor(name, { product, tcb }))
      return isLeaf || isAuthority(entry, AMD_AUTHORITIES)
    })
  }

  /** What may vouch for a TD's platform; `fmspc` in hex. */
  async forPlatform(fmspc: string, at: Date): Promise<CachedFiles> {
    const names = [tcbInfoName(fmspc), QE_IDENTITY_NAME]
    return this.#collect(at, (entry) => names.includes(entry.name) || isAuthority(entry, INTEL_AUTHORITIES))
  }

  async #collect(at: Date, isWanted: (entry: CacheEntry) => boolean): Promise<CachedFiles> {
    const entries = await this.list()
    // A stale list or document would refuse what is authentic; a stale certificate is for verification to judge.
    const current = entries.filter(({ notBefore, notAfter }) => notBefore <= at && at <= notAfter)
    const isList = ({ name }: CacheEntry) => name.startsWith(LIST_PREFIX)
    const bytesOf = (entries: readonly CacheEntry[]) =>
      entries.slice(0, MAX_CANDIDATES).map(({ bytes }) => bytes)
    const wanted = (all: readonly CacheEntry[]) => all.filter((entry) => !isList(entry) && isWanted(entry))
    return {
      certificates: bytesOf(wanted(entries).filter(({ name }) => name.endsWith('.der'))),
      crls: bytesOf(current.filter(isList)),
      collateral: bytesOf(wanted(current).filter(({ name }) => name.endsWith('.json'))),
    }
  }

  async #names(): Promise<readonly string[]> {
    const names = await readdir(this.directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return names
      .filter((name) => !name.startsWith('.'))
      .sort()
      .slice(0, MAX_FILES)
  }

  async #read(name: string): Promise<readonly CacheEntry[]> {
    try {
      // The name is the content's: a file that was put under another one is not what it is called.
      return cacheEntries(await readFile(join(this.directory, name))).filter((entry) => entry.name === name)
    } catch (error) {
      const isGone = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (isGone || error instanceof FormatError) return []
      throw error
    }
  }
}
