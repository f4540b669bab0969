/** Somebody at an address of his own, with a TLS key of his own, who passes on to a broker what guests tell him. */
import type { BrokerIdentity } from '../../materials/broker-identity.ts'
import type { Scope } from '../../system/scope.ts'
import { RELAY_ADDRESS } from '../vm-machine.ts'
import type { NetworkOptions } from '../vm-options.ts'
import { BrokerLine } from './broker-line.ts'
import { type Interceptor, interceptTls } from './interceptor.ts'

export class Relay {
  /** For the VM that can reach him. */
  readonly network: Required<Pick<NetworkOptions, 'relayPort'>>
  /** Names him as the broker: where he is, and by what to know him. */
  readonly commandLine: string
  readonly #line: BrokerLine
  readonly #interceptor: Interceptor

  private constructor(made: { line: BrokerLine; interceptor: Interceptor; pin: string }) {
    const { address, port } = RELAY_ADDRESS
    this.#line = made.line
    this.#interceptor = made.interceptor
    this.network = { relayPort: made.line.hostPort }
    this.commandLine = `attestbed.broker=https://${address}:${port} attestbed.broker-pin=${made.pin}`
  }

  /** `broker`: the port, at the moment, of the one that he goes on to. Gone when the scope closes. */
  static async open(
    scope: Scope,
    { identity, broker }: { readonly identity: BrokerIdentity; readonly broker: () => number | undefined },
  ): Promise<Relay> {
    const { certificatePem, privateKeyPem: keyPem, pin } = identity
    const line = await BrokerLine.open(scope)
    const interceptor = await interceptTls(broker, { certificatePem, keyPem })
    scope.defer('a relay to the broker', async () => interceptor[Symbol.asyncDispose]())
    line.leadTo(interceptor.port)
    return new Relay({ line, interceptor, pin })
  }

  /** How often a guest connected to his address. */
  get arrivals(): number {
    return this.#line.arrivals.length
  }

  /** What he read of guests, in pieces. */
  get requests(): number {
    return this.#interceptor.requests
  }
}
