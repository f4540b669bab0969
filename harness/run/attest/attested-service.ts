/** What a client makes of somebody who says that it is a guest's TLS service, in a form for claims. */
import { createDecipheriv, randomBytes } from 'node:crypto'
import { AppraiseError } from '../../base/errors.ts'
import type { LabGuest } from '../guest.ts'
import type { ServiceAddress, UnattestedConnection } from './attested-connection.ts'
import { ask, askForAttestation, attestedConnection, unattestedConnection } from './attested-connection.ts'
import type { TlsIdentity } from './interceptor.ts'
import { type AttestationDemand, TLS_NONCE_BYTES, verifyTlsAttestation } from './tls-attestation.ts'

export interface ServiceOutcome {
  readonly accepted: boolean
  /** Codes, where it was refused. */
  readonly findings: readonly string[]
  /** What the service then said in that session; empty where it was not asked. */
  readonly greeting: string
}

const SERVICE = '/run/service'
const ATTESTED_SERVICE = '/usr/lib/attestbed/attested-service'

/** As a client does that knows what to check: the evidence is for the key of this very session, or nothing is said. */
export async function useService(
  address: ServiceAddress,
  demand: Omit<AttestationDemand, 'at'>,
): Promise<ServiceOutcome> {
  return outcomeOf(() => attestedConnection(address, { ...demand, at: new Date() }))
}

/** The mistake: the evidence is for the key that the answer names, whoever has that. For a control. */
export async function useServiceUnbound(
  address: ServiceAddress,
  demand: Omit<AttestationDemand, 'at'>,
): Promise<ServiceOutcome> {
  return outcomeOf(async () => {
    const connection = await unattestedConnection(address)
    const nonce = randomBytes(TLS_NONCE_BYTES)
    const attestation = await askForAttestation(connection, nonce)
    const { publicKey } = attestation
    await verifyTlsAttestation(attestation, { ...demand, at: new Date(), nonce, publicKey })
    return connection
  })
}

async function outcomeOf(connect: () => Promise<UnattestedConnection>): Promise<ServiceOutcome> {
  try {
    const { socket } = await connect()
    const greeting = (await ask(socket, '/greeting')).toString().trim()
    socket.destroy()
    return { accepted: true, findings: [], greeting }
  } catch (error) {
    if (!(error instanceof AppraiseError)) throw error
    return { accepted: false, findings: error.findings.map(({ code }) => code), greeting: '' }
  }
}

/** SHA-256 of the certificate that is shown there, hex. */
export async function certificateOf(address: ServiceAddress): Promise<string> {
  const { socket, certificate } = await unattestedConnection(address)
  socket.destroy()
  return certificate
}

/** The guest's service goes on with a key that others have as well, as one does whose key lies on a disk. */
export async function giveIdentity(guest: LabGuest, identity: TlsIdentity): Promise<void> {
  await guest.writeFile(`${SERVICE}/certificate.pem`, Buffer.from(identity.certificatePem))
  await guest.writeFile(`${SERVICE}/key.pem`, Buffer.from(identity.keyPem))
  await guest.succeed([ATTESTED_SERVICE, '--key-and-certificate'])
}

/** The private key that the guest made, as PEM; on its way here it is not readable in the record of the console. */
export async function privateKeyOf(guest: LabGuest): Promise<string> {
  const [key, iv] = [randomBytes(32), randomBytes(16)]
  const encrypt = ['openssl', 'enc', '-aes-256-ctr', '-K', key.toString('hex'), '-iv', iv.toString('hex')]
  const { stdout } = await guest.succeed([...encrypt, '-in', `${SERVICE}/key.pem`])
  const decipher = createDecipheriv('aes-256-ctr', key, iv)
  return Buffer.concat([decipher.update(stdout), decipher.final()]).toString()
}
