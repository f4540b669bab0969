/** Ends a scenario whose command lines were asked for instead of its run. */
export class PrintedArgv extends Error {
  override readonly name = 'PrintedArgv'
  /** Program and arguments of each process, in the order to start them. */
  readonly commands: readonly (readonly string[])[]

  constructor(commands: readonly (readonly string[])[]) {
    super('the command lines were asked for, not the run')
    this.commands = commands
  }
}
