/**
 * New vTPMs, the first one made ahead: swtpm_setup takes longer than all else that a VM's materials need, and nothing
 * that it makes depends on them.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { copyVtpmState, createVtpmState, type VtpmStateOptions } from '../machine/vtpm/state.ts'
import { Scope } from '../system/scope.ts'
import { openSocketDirectory } from '../system/socket-directory.ts'
import type { Tools } from '../system/tools.ts'

export class NewVtpms {
  readonly #tools: Tools
  #ahead: Promise<string> | undefined

  constructor(tools: Tools) {
    this.#tools = tools
  }

  /** Starts to make one, in a private directory that goes with the scope. */
  makeAhead(scope: Scope): void {
    const own = new Scope('vTPM made ahead')
    const ahead = this.#make(own)
    // Whoever needs a vTPM makes it then, and gets the reason.
    ahead.catch(() => {})
    // Its directory may not go while it is written to, and a run that fails at once ends before there is one.
    scope.defer('the vTPM made ahead', () => ahead.catch(() => {}).then(() => own.close()))
    this.#ahead = ahead
  }

  /** The state of a new TPM in `directory`, as `createVtpmState` makes it. No two calls give the same TPM. */
  async create(directory: string, options: VtpmStateOptions = {}): Promise<void> {
    // The one made ahead is an ordinary one.
    if (options.banks) return createVtpmState(this.#tools, directory, options)
    const ahead = this.#ahead
    this.#ahead = undefined
    const made = await ahead?.catch(() => undefined)
    if (made === undefined) return createVtpmState(this.#tools, directory)
    // Not moved: a private directory for sockets may be on another file system.
    await copyVtpmState(made, directory)
    await rm(made, { recursive: true })
  }

  async #make(scope: Scope): Promise<string> {
    const directory = join(await openSocketDirectory(scope), 'vtpm')
    await createVtpmState(this.#tools, directory)
    return directory
  }
}
