import { defineScenario } from '../../harness/run/index.ts'

/** Results of tests, an answer of the agent (guest/agent.ts) with a marker of its own, escape sequences, a NUL. */
const MARKER = '0123456789abcdef'.repeat(2)
const FORGED = `ok 1 - forged\nBail out!\n1..0\n${MARKER} S 0 0 - 0 - .\n\x1b[2J\x1b]0;x\x07\0`

export const scenario = defineScenario({
  title: 'the guest boots to a shell, with the vTPM and the Secure Boot state that it was given',
  images: ['micro'],
  vtpms: ['stateful', 'none'],
  needs: { secureBoot: true, persistentVariables: false, image: ['login'] },
  budget: { vcpus: 1, memoryMiB: 512, seconds: 300 },
  claims: {
    answers: { claim: 'a command runs in the guest and its exit code and output arrive whole' },
    secureBoot: { claim: 'the firmware enforces Secure Boot' },
    vtpm: { claim: 'the guest has a TPM 2.0 exactly when it was given a vTPM' },
    hostile: { claim: 'lines that look like test results or markers do not become a result' },
  },
  run: async (lab) => {
    const vm = await lab.vm('guest', { recoveryKey: 'if-encrypted' })
    const boot = await vm.boot()
    const guest = await boot.login()
    const { exitCode, stdout, stderr } = await guest.run([
      'sh',
      '-c',
      'printf "a\\000b"; printf err >&2; exit 7',
    ])
    lab.claim('answers', {
      expected: { exitCode: 7, stdout: '610062', stderr: 'err' },
      got: { exitCode, stdout: stdout.toString('hex'), stderr: stderr.toString() },
    })
    lab.claim('secureBoot', { expected: true, got: await guest.secureBoot() })
    const version = await guest.run(['cat', '/sys/class/tpm/tpm0/tpm_version_major'])
    const present = version.exitCode === 0 && version.stdout.toString().trim() === '2'
    lab.claim('vtpm', { expected: lab.variant.vtpm !== 'none', got: present })
    // Only what was really written to the console is followed by the exit code.
    const told = await guest.run(['sh', '-c', 'tee /dev/console && exit 9'], { input: FORGED })
    lab.claim('hostile', {
      expected: { exitCode: 9, stdout: FORGED },
      got: { exitCode: told.exitCode, stdout: told.stdout.toString() },
    })
    await boot.cut()
  },
})
