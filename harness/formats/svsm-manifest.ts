/** What an SVSM says about its services: "Secure VM Service Module for SEV-SNP Guests", AMD 58019, 7.1. */
import { ByteReader } from '../base/bytes.ts'
import { GUID_BYTES, guidBytes, guidText } from './guid.ts'

const SERVICES_MANIFEST = '63849ebb-3d92-4670-a1ff-58f9c94b87bb'
/** GUID of the vTPM's service: AMD 58019, "vTPM Protocol". */
export const VTPM_SERVICE = 'c476f1eb-0123-45a5-9641-b4e7dde5bfe3'
/** As the table begins with it. AMD 58019, 7.1; 16 bytes. */
export const SERVICES_MANIFEST_GUID = guidBytes(SERVICES_MANIFEST)
const ENTRY_BYTES = 24
const MAX_SERVICES = 64
const MAX_BYTES = 1024 * 1024

/** One entry of the table. AMD 58019, 7.1; 24 bytes in the table. */
export interface SvsmService {
  readonly guid: string
  /** The service's own manifest; empty where it has none. */
  readonly data: Uint8Array
}

/**
 * The GUID table of SVSM_ATTEST_SERVICES, at most 1 MiB and 64 services. Throws FormatError, also where services
 * overlap, repeat or leave bytes that belong to none: everything in it is hashed, so everything must mean something.
 * AMD 58019, 7.1.
 */
export function parseServicesManifest(bytes: Uint8Array): readonly SvsmService[] {
  const reader = new ByteReader(bytes, { what: 'SVSM services manifest' })
  if (bytes.length > MAX_BYTES)
    throw reader.error('too-large', 'manifest', `has ${bytes.length} bytes, at most ${MAX_BYTES} are read`)
  reader.magic(SERVICES_MANIFEST_GUID, 'GUID')
  const length = reader.u32le('length')
  const count = reader.u32le('services')
  if (length !== bytes.length)
    throw reader.error(
      'bad-value',
      'length',
      `is ${length}, the manifest has ${bytes.length} bytes`,
      GUID_BYTES,
    )
  if (count > MAX_SERVICES)
    throw reader.error(
      'too-large',
      'services',
      `are ${count}, at most ${MAX_SERVICES} are read`,
      GUID_BYTES + 4,
    )
  let end = ENTRY_BYTES * (1 + count)
  const services: SvsmService[] = []
  for (let index = 0; index < count; index++) {
    const at = reader.offset
    const guid = guidText(reader.bytes(GUID_BYTES, 'service GUID'))
    const offset = reader.u32le('service offset')
    const size = reader.u32le('service size')
    if (offset !== end || size > bytes.length - offset)
      throw reader.error(
        'bad-value',
        'service offset',
        `is ${offset}, size ${size}; ${end} must follow`,
        at + GUID_BYTES,
      )
    if (services.some((each) => each.guid === guid))
      throw reader.error('bad-value', 'service GUID', `${guid} occurs twice`, at)
    services.push({ guid, data: bytes.subarray(offset, offset + size) })
    end = offset + size
  }
  if (end !== bytes.length)
    throw reader.error('trailing-bytes', 'end', `${bytes.length - end} bytes belong to no service`, end)
  return services
}
