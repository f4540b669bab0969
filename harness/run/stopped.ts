/** Ends a scenario at its first false claim, where somebody wants to look at the VM as it is then. */
export class StoppedAtFailure extends Error {
  override readonly name = 'StoppedAtFailure'

  constructor(claim: string) {
    super(`claim "${claim}" is false`)
  }
}
