import {
  certificateOf,
  defineScenario,
  freshTlsIdentity,
  giveIdentity,
  interceptTls,
  ownersPolicy,
  plantCanary,
  privateKeyOf,
  useService,
  useServiceUnbound,
} from '../../harness/run/index.ts'

const PORT = 8443
const GENUINE = { accepted: true, findings: [], greeting: 'greetings from verity' }
const refused = (...findings: readonly string[]) => ({ accepted: false, findings, greeting: '' })

export const scenario = defineScenario({
  title:
    'a client takes the TLS service of a guest for what its evidence says, and a twin with its disk and its certificate for none',
  images: ['verity'],
  vtpms: ['none'],
  tees: ['sev-snp', 'tdx'],
  needs: { secureBoot: false, persistentVariables: false, image: ['attested-service', 'login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 768, seconds: 900 },
  claims: {
    genuine: {
      claim:
        'control: the service of the guest proves that the key of the session is its own, and is spoken to',
    },
    between: { claim: 'a host between client and guest, with the evidence of the guest, is refused' },
    unbound: {
      claim:
        'control: a client that does not compare the key of its session with that of the evidence is deceived by it',
    },
    twin: {
      claim:
        'a twin with the same disk, the same certificate and even its private key, on other firmware, is refused by its launch',
      about: 'launch',
    },
    sameKey: { claim: 'control: with that certificate and key the guest itself is accepted' },
    replayed: {
      claim: 'so is one with the private key that shows evidence which the guest gave before',
      requires: 'emulation',
    },
    elsewhere: {
      claim: 'so is one with the private key on another chip, where the owner knows the chip',
      requires: 'emulation',
    },
    leaked: {
      claim:
        'control: a host between them that has the private key is accepted, so all rests on the key being the guest’s alone',
    },
    nowhere: {
      claim:
        'the private key that the guest made is in no file of the run directory: no console, no record, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console, what it writes in clear on its disk, and what the harness records',
    },
  },
  run: async (lab) => {
    const uki = { extraCommandLine: 'attestbed.service=tls' }
    const options = { kernel: 'direct', servicePort: PORT, uki } as const
    const vm = await lab.vm('owner', options)
    const demand = await ownersPolicy(vm)
    const boot = await vm.boot()
    const guest = await boot.login()
    const service = await boot.service()
    lab.claim('genuine', { expected: GENUINE, got: await useService(service, demand) })

    await using between = await interceptTls(() => service.port)
    const there = { host: service.host, port: between.port }
    const shown = [await certificateOf(service), await certificateOf(there)]
    lab.claim('between', {
      expected: { ...refused('report-data'), certificate: 'another', relayed: true },
      got: {
        ...(await useService(there, demand)),
        certificate: shown[0] === shown[1] ? 'the same' : 'another',
        relayed: between.requests > 0,
      },
    })
    lab.claim('unbound', { expected: GENUINE, got: await useServiceUnbound(there, demand) })

    const born = await privateKeyOf(guest)
    const planted = await plantCanary(guest, ['console', 'disk'])
    const secret = born.split('\n')[1] ?? 'no key'
    lab.claim('nowhere', {
      expected: { isKey: true, files: [] },
      got: { isKey: /^[A-Za-z0-9+/]{64}$/.test(secret), files: await lab.findInRun(secret) },
    })
    lab.claim('planted', {
      expected: ['console', 'disk', 'record'],
      got: await lab.placesInRun(planted),
    })

    // From here on others have the key as well: as if it lay on the disk.
    const identity = await freshTlsIdentity()
    await giveIdentity(guest, identity)
    lab.claim('sameKey', { expected: GENUINE, got: await useService(service, demand) })
    await using holder = await interceptTls(() => service.port, identity)
    const held = { host: service.host, port: holder.port }
    lab.claim('leaked', { expected: GENUINE, got: await useService(held, demand) })
    if (vm.tee.isEmulated) {
      vm.tee.fault('replayed')
      lab.claim('replayed', { expected: refused('report-data'), got: await useService(service, demand) })
      vm.tee.fault('other-chip')
      const codes = vm.tee.platform === 'tdx' ? ['fmspc-mismatch'] : ['chip-id']
      lab.claim('elsewhere', { expected: refused(...codes), got: await useService(service, demand) })
      vm.tee.fault()
    } else {
      const why = 'emulation-required: the host of a real TEE cannot be made to lie'
      lab.skip('replayed', why)
      lab.skip('elsewhere', why)
    }
    const certificate = await certificateOf(service)
    await boot.cut()

    const twin = await lab.vm('twin', { ...options, firmware: 'altered' })
    const twinBoot = await twin.boot()
    await giveIdentity(await twinBoot.login(), identity)
    const fromTwin = await twinBoot.service()
    lab.claim('twin', {
      expected: {
        ...refused(vm.tee.platform === 'tdx' ? 'mrtd' : 'launch-digest'),
        ...{ rootHash: vm.rootHash, certificate },
      },
      got: {
        ...(await useService(fromTwin, demand)),
        ...{ rootHash: twin.rootHash, certificate: await certificateOf(fromTwin) },
      },
    })
    await twinBoot.cut()
  },
})
