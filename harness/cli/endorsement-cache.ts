/**
 * Endorsements that were imported or fetched, one file each. Nothing in it is trusted for being there: what no pinned
 * root vouches for neither enters it nor leaves it, and what leaves it is verified like anything that was given.
 */
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FormatError } from '../base/errors.ts'
import {
  AUTHORITY,
  type CacheEntry,
  cacheEntries,
  isNewer,
  isVlekFor,
  LIST_PREFIX,
  QE_IDENTITY_NAME,
  tcbInfoName,
  vcekCacheName,
} from '../evidence/collect/cache-key.ts'
import { certificatesOf, issuersOf, sortOutVouched, type Vouched } from '../evidence/collect/vouched.ts'
import type { FoundEndorsements } from '../evidence/request.ts'
import { vcekIdentity } from '../evidence/snp/leaf.ts'
import type { Crl } from '../formats/crl.ts'
import type { SnpReport } from '../formats/snp/report.ts'
import { SNP_PRODUCTS } from '../formats/snp/tcb.ts'
import type { Certificate } from '../formats/x509.ts'
import { writePrivateFile } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'

/** More than a fleet's chips would be a cache of somebody else's making. */
const MAX_FILES = 65_536
/** Authorities and lists that are read for one piece of evidence: the vendors have a dozen. */
const MAX_SHARED = 256
/** As the common names of the vendors' authorities begin, and of emulated ones. */
const AMD_AUTHORITIES = ['SEV-', 'ARK-', 'SIMULATED ARK-']
const INTEL_AUTHORITIES = ['Intel SGX ', 'SIMULATED SGX ']
/** A VLEK is not told apart by its chip: one of each provider may be meant. */
const MAX_LEAVES = 16

export interface CacheOptions {
  /** Default: below the user's cache directory. */
  readonly directory?: string
  /** Roots of emulated TEEs that the policy names: what they vouch for may enter and leave, too. */
  readonly simulatedRoots?: readonly string[] | undefined
}

export interface CacheTime {
  readonly at: Date
  /** Certificates that are at hand besides, where issuers may be. */
  readonly beside?: readonly Certificate[]
}

export class EndorsementCache {
  readonly directory: string
  readonly #simulatedRoots: readonly string[]

  constructor({ directory, simulatedRoots = [] }: CacheOptions = {}) {
    this.directory = directory ?? join(resolvePaths().cache, 'endorsements')
    this.#simulatedRoots = simulatedRoots
  }

  /**
   * Keeps what the files hold and a pinned root vouches for; of two of one name the newer stays. Issuers may lie in any
   * of the files, in the cache, or `beside`. Throws FormatError for a file that holds nothing known; then nothing is kept.
   */
  async import(files: readonly Uint8Array[], beside: readonly Certificate[] = []): Promise<Vouched> {
    const known = [...certificatesOf(await this.#shared()), ...beside]
    const sorted = this.#sortOut(files.flatMap(cacheEntries), known)
    await mkdir(this.directory, { recursive: true, mode: 0o700 })
    for (const entry of sorted.vouched) {
      const [old] = this.#sortOut(await this.#read(entry.name), [
        ...known,
        ...certificatesOf(sorted.vouched),
      ]).vouched
      if (old === undefined || isNewer(entry, old))
        await writePrivateFile(join(this.directory, entry.name), entry.bytes)
    }
    return sorted
  }

  /** All entries, by name. What no longer parses is left out. */
  async list(): Promise<readonly CacheEntry[]> {
    return this.#readAll(await this.#names())
  }

  /** What may vouch for a report; of revocation lists those that are current at `at`, and those that revoke a part of it. */
  async forReport(report: SnpReport, when: CacheTime): Promise<readonly CacheEntry[]> {
    const lines = report.processor ? [report.processor.product] : SNP_PRODUCTS
    const tcb = report.reportedTcb.raw
    const names = lines.flatMap((line) => {
      const identity = vcekIdentity(report, line)
      return identity ? [vcekCacheName(identity)] : []
    })
    const isVlek = (name: string) => lines.some((product) => isVlekFor(name, { product, tcb }))
    const vleks = report.keyInfo.signingKey === 'vlek' ? (await this.#names()).filter(isVlek) : []
    return this.#chosen([...names, ...vleks.slice(0, MAX_LEAVES)], AMD_AUTHORITIES, when)
  }

  /** What may vouch for a TD's platform; `fmspc` in hex. */
  async forPlatform(fmspc: string, when: CacheTime): Promise<readonly CacheEntry[]> {
    return this.#chosen([tcbInfoName(fmspc), QE_IDENTITY_NAME], INTEL_AUTHORITIES, when)
  }

  /** The named entries, with lists, and the vendor's authorities: where a leaf is named, those above it alone. */
  async #chosen(
    names: readonly string[],
    authorities: readonly string[],
    { at, beside = [] }: CacheTime,
  ): Promise<readonly CacheEntry[]> {
    const shared = await this.#shared()
    const named = await this.#readAll(names)
    const { vouched } = this.#sortOut([...named, ...shared], beside)
    const leaves = certificatesOf(vouched.filter(({ name }) => names.includes(name)))
    const above = new Set(leaves.flatMap((leaf) => issuersOf(leaf, certificatesOf(shared))))
    const chosen = vouched.filter(({ content, name, about }) => {
      if (content.kind !== 'certificate') return false
      if (names.includes(name) || above.has(content.certificate)) return true
      return leaves.length === 0 && authorities.some((beginning) => about.startsWith(beginning))
    })
    const inUse = [...certificatesOf(chosen), ...beside]
    return vouched.filter((entry) => {
      const { content, notBefore, notAfter } = entry
      if (content.kind === 'certificate') return chosen.includes(entry)
      // A stale list or document would refuse what is authentic; but what was revoked stays so when the next is due.
      if (notBefore <= at && at <= notAfter) return true
      return content.kind === 'list' && inUse.some((certificate) => isNamed(content.list, certificate))
    })
  }

  #sortOut(entries: readonly CacheEntry[], beside: readonly Certificate[]): Vouched {
    return sortOutVouched(entries, { beside, simulatedRoots: this.#simulatedRoots })
  }

  async #shared(): Promise<readonly CacheEntry[]> {
    const names = (await this.#names()).filter(
      (name) => name.startsWith(AUTHORITY) || name.startsWith(LIST_PREFIX),
    )
    return this.#readAll(names.slice(0, MAX_SHARED))
  }

  async #readAll(names: readonly string[]): Promise<readonly CacheEntry[]> {
    return (await Promise.all(names.map((name) => this.#read(name)))).flat()
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

function isNamed({ issuer, revoked }: Crl, certificate: Certificate): boolean {
  return Buffer.compare(issuer.raw, certificate.issuer.raw) === 0 && revoked.has(certificate.serial)
}

/** As a request takes them. */
export function foundIn(entries: readonly CacheEntry[]): FoundEndorsements {
  const of = (kind: CacheEntry['content']['kind']) =>
    entries.filter(({ content }) => content.kind === kind).map(({ bytes }) => bytes)
  return { certificates: of('certificate'), crls: of('list'), collateral: of('document') }
}
