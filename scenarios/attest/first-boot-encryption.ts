import {
  alterRoot,
  type Boot,
  cutWhileEncrypting,
  defineScenario,
  firstBootSteps,
  freshCanary,
  headerDigest,
  type KeptRoot,
  keepRoot,
  type LabBroker,
  type LabGuest,
  markersIn,
  ownersPolicy,
  PLAIN_MARKER,
  plantCanary,
  putRoot,
  rootDigest,
  type ScenarioVm,
  UNLOCKED_BY_BROKER,
} from '../../harness/run/index.ts'

const KEY = 'default/root/key'
const RECEIPT = 'default/root/receipt'
const CLOSED = 'not-unlocked'
const DATA = '/usr/share/attestbed'
/** The boot reads all of the root, encrypts it, and reads it again. */
const ENCRYPTING = { deadlineMs: 600_000 }
const KEPT_FILE = '/root/kept'

export const scenario = defineScenario({
  title:
    'a root that is handed out in clear is encrypted by its guest at the first boot, over a power cut, and the broker has the proof',
  images: ['attester'],
  vtpms: ['stateless'],
  tees: ['sev-snp', 'tdx'],
  needs: { secureBoot: false, persistentVariables: false, image: ['attester', 'login', 'own-uki'] },
  budget: { vcpus: 1, memoryMiB: 1024, seconds: 1800 },
  claims: {
    noTee: {
      claim: 'evidence that no TEE signed gets no key, and nothing is encrypted',
      requires: 'emulation',
    },
    tampered: {
      claim:
        'an image with one other byte is refused by the guest before it is encrypted, and the broker is not asked',
    },
    otherImage: {
      claim: 'nor does a guest get the key whose UKI names that image: the broker knows another launch',
    },
    begins: {
      claim: 'control: the image as it was handed out is encrypted, until the power is cut in the middle',
    },
    meanwhile: {
      claim:
        'what the host changes there before it goes on is found when the guest has encrypted all of it and reads it back: it gives no proof, and does not use the root',
    },
    resumes: {
      claim:
        'put back as it was, the next boot goes on with it, finishes, and comes up on the encrypted root',
    },
    intact: { claim: 'every file of the image is as it was, by its checksum' },
    hidden: { claim: 'nothing of the image is on the disk in clear any more' },
    visible: {
      claim:
        'control: before, all of it was found there by the same searches, of the partitions and of the disk file; at the cut, a part of it',
    },
    proof: {
      claim:
        'the audit log has the one proof: a guest of this launch read the whole image through the encryption, under the header that is on the disk',
    },
    reopens: { claim: 'the next boot opens it with the key from the broker, and what was written stays' },
    rolledBack: {
      claim: 'once the owner has the proof, the very image that was encrypted before gets no key any more',
    },
    nowhere: {
      claim:
        'the key is in no file of the run directory, after no refusal: no console, no log of broker or vTPM, no disk',
    },
    planted: {
      claim:
        'control: the same search finds what the guest says on its console and to its vTPM, what it writes in clear on its disk, and what broker and harness record',
    },
  },
  run: async (lab) => {
    const broker = await lab.broker()
    const key = freshCanary().text
    const vm = await lab.vm('owner', {
      ...{ root: 'plain', kernel: 'direct', network: broker.network },
      uki: { extraCommandLine: broker.commandLine },
    })
    const owner = await ownerOf(vm, { broker, key })
    const image = await keepRoot(vm)
    const attempt = async () => ({
      ...(await refusedBoot(vm, broker)),
      found: await lab.findInRun(key),
    })
    await owner.awaitsProof()

    if (vm.tee.isEmulated) {
      vm.tee.fault('forged')
      lab.claim('noTee', {
        expected: {
          ...refusedBy('not-attested', { attested: 0, refused: 1 }),
          codes: [vm.tee.platform === 'tdx' ? 'quote-signature' : 'report-signature'],
          digest: vm.plainRoot,
        },
        got: await attempt(),
      })
      vm.tee.fault()
    } else lab.skip('noTee', 'emulation-required: a real TEE signs what it is asked for')

    const altered = alterRoot(image)
    const alteredDigest = rootDigest(altered)
    await putRoot(vm, altered)
    lab.claim('tampered', {
      expected: {
        ...{ ...refusedBy('altered-image', { attested: 0, refused: 0 }), codes: [], digest: alteredDigest },
      },
      got: await attempt(),
    })
    await vm.installUki({
      extraCommandLine: `${broker.commandLine} attestbed.image=sha256:${alteredDigest}`,
    })
    const otherImage = await attempt()
    const ofLaunch = vm.tee.platform === 'tdx' ? 'rtmr' : 'launch-digest'
    lab.claim('otherImage', {
      expected: {
        ...refusedBy('not-attested', { attested: 1, refused: 0 }),
        ...{ codes: `${ofLaunch} and pcr among them`, digest: alteredDigest },
      },
      got: otherImage,
      holds:
        otherImage.result === CLOSED &&
        otherImage.why === 'not-attested' &&
        otherImage.released === 0 &&
        otherImage.found.length === 0 &&
        otherImage.attested === 1 &&
        [ofLaunch, 'pcr'].every((code) => otherImage.codes.includes(code)) &&
        otherImage.digest === alteredDigest,
    })
    await vm.installUki({ extraCommandLine: broker.commandLine })
    await putRoot(vm, image)

    const clear = { text: PLAIN_MARKER, repeated: Buffer.from(PLAIN_MARKER) }
    const inFile = { before: await vm.findOnDisk(clear), between: 0 }
    const first = await vm.boot()
    const cut = await cutWhileEncrypting(first, ENCRYPTING)
    const atCut = await keepRoot(vm)
    inFile.between = await vm.findOnDisk(clear)
    const { released } = broker.exchanges()
    const [begun] = firstBootSteps(first)
    lab.claim('begins', {
      expected: { begun: 'state=plain', released: 1, encrypted: 'more than nothing, less than all' },
      got: { begun, released, ...cut },
      holds:
        begun === 'state=plain' &&
        released === 1 &&
        cut !== undefined &&
        0 < cut.encrypted &&
        cut.encrypted < cut.of,
    })

    await putRoot(vm, alterRoot(atCut))
    const { digest: _, ...meanwhile } = await attempt()
    const given = broker.attestations.at(-1)
    lab.claim('meanwhile', {
      expected: {
        // For such a root the same exchange gives the key, and no receipt.
        ...{ ...refusedBy('altered-image', { attested: 1, refused: 0 }), released: 1, codes: ['root-state'] },
        ...{ given: [KEY], for: { state: 'partial' } },
      },
      got: { ...meanwhile, given: given?.resources, for: given?.root },
    })
    await putRoot(vm, atCut)

    const second = await vm.boot()
    const { result } = await second.unlock(ENCRYPTING)
    const guest = await second.login()
    lab.claim('resumes', {
      expected: { result: UNLOCKED_BY_BROKER, steps: ['state=partial', 'encrypted', 'proven'] },
      got: { result, steps: firstBootSteps(second) },
    })
    lab.claim('intact', { expected: { exitCode: 0, files: 80 }, got: await checkFiles(guest) })
    const canary = freshCanary()
    await guest.succeed(['sh', '-c', `echo "$1" >${KEPT_FILE}`, 'sh', canary.text])
    await second.powerOff()
    const encrypted = await keepRoot(vm)
    lab.claim('hidden', {
      expected: { inPartitions: 0, inFile: 0 },
      got: { inPartitions: markersIn(encrypted), inFile: await vm.findOnDisk(clear) },
    })
    const [before, between] = [markersIn(image), markersIn(atCut)]
    lab.claim('visible', {
      expected: 'thousands before, fewer at the cut, more than none',
      got: { inPartitions: { before, between }, inFile },
      holds: [{ before, between }, inFile].every(isFewer),
    })
    const proofs = broker.attestations.filter(({ resources }) => resources.includes(RECEIPT))
    const header = headerDigest(encrypted)
    lab.claim('proof', {
      expected: [{ digest: vm.plainRoot, header, state: 'whole' }],
      got: proofs.map(({ root }) => root),
    })
    broker.exchanges()

    await owner.hasProof(proofs[0]?.root?.header ?? 'none')
    const third = await vm.boot()
    const again = await third.unlock()
    const later = await third.login()
    lab.claim('reopens', {
      expected: { result: UNLOCKED_BY_BROKER, steps: ['state=whole'], kept: canary.text, released: 2 },
      got: {
        ...{ result: again.result, steps: firstBootSteps(third) },
        ...{ kept: await later.text(['cat', KEPT_FILE]), released: broker.exchanges().released },
      },
    })
    const planted = await plantCanary(later, ['console', 'disk', 'vtpm'])
    await third.powerOff()

    await putRoot(vm, image)
    lab.claim('rolledBack', {
      expected: {
        ...refusedBy('not-attested', { attested: 1, refused: 0 }),
        ...{ codes: ['root-state'], digest: vm.plainRoot },
      },
      got: await attempt(),
    })

    lab.claim('nowhere', { expected: [], got: await lab.findInRun(key) })
    lab.claim('planted', {
      expected: { planted: ['console', 'disk', 'record', 'vtpm'], logged: true },
      got: {
        planted: await lab.placesInRun(planted),
        logged: (await lab.placesInRun(header)).includes('broker'),
      },
    })
  },
})

/** How often the marker was found before anything was encrypted, and when a part of it was. */
function isFewer({ before, between }: { readonly before: number; readonly between: number }): boolean {
  return before > 1000 && between < before && between > 0
}

/** What the owner has the broker demand, before there is a proof and from then on. */
async function ownerOf(
  vm: ScenarioVm,
  { broker, key }: { readonly broker: LabBroker; readonly key: string },
) {
  const demands = await ownersPolicy(vm, { vtpm: 'required', delivery: 'activate-credential' })
  const digest = vm.plainRoot
  const root = { ...demands, secret: key }
  const receipt = { ...demands, secret: 'recorded', resource: RECEIPT }
  return {
    awaitsProof: () =>
      broker.serve(
        { ...root, root: [{ state: 'plain', digest }, { state: 'partial' }, { state: 'whole' }] },
        { ...receipt, root: [{ state: 'whole', digest }] },
      ),
    hasProof: (header: string) =>
      broker.serve(
        { ...root, root: [{ state: 'whole', header }] },
        { ...receipt, root: [{ state: 'whole', header }] },
      ),
  }
}

/** `decided`: attestations, as the audit log has them. */
const refusedBy = (why: string, decided: { readonly attested: number; readonly refused: number }) => ({
  ...{ result: CLOSED, why, ...decided, released: 0, found: [] },
})

/** A boot that is to be refused: what came of it, and the root afterwards. */
async function refusedBoot(vm: ScenarioVm, broker: LabBroker) {
  const boot: Boot = await vm.boot()
  const { result, why } = await boot.unlock(ENCRYPTING)
  await boot.cut()
  const { attested, refused, released, codes } = broker.exchanges()
  const left: KeptRoot = await keepRoot(vm)
  return { result, why, attested, refused, released, codes, digest: rootDigest(left) }
}

async function checkFiles(guest: LabGuest) {
  const { exitCode, stdout } = await guest.run(['sh', '-c', `cd ${DATA} && sha256sum -c SHA256SUMS`], {
    timeoutMs: 120_000,
  })
  return { exitCode, files: stdout.toString().match(/^data-\d+: OK$/gm)?.length ?? 0 }
}
