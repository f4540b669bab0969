/** Inputs of a run's VMs in place of the usual ones: what a reproduction and a bisect change. All paths are absolute. */
import { isAbsolute } from 'node:path'
import type { KernelSwap } from '../materials/kernel-swap.ts'
import type { FirmwareBuild } from '../probe/firmware.ts'
import type { Tools } from '../system/tools.ts'

export interface MaterialSwaps {
  /** Another build in place of the variant's; what it can do is believed to be the same. */
  readonly firmware?: FirmwareSwap
  readonly kernel?: KernelSwap
  /** The systemd-stub of every UKI. */
  readonly stub?: string
}

export interface FirmwareSwap {
  readonly code: string
  /** Template of its variable store; absent: the usual one. */
  readonly variables?: string
}

export function swapFirmware(build: FirmwareBuild, swap: FirmwareSwap | undefined): FirmwareBuild {
  if (swap === undefined) return build
  const { code, variables = build.variables } = swap
  return { ...build, path: code, ...(variables !== undefined && { variables }) }
}

/** Where a file of a firmware build lies: among the tools, unless it was swapped. */
export function firmwareFile(tools: Pick<Tools, 'path'>, path: string): string {
  return isAbsolute(path) ? path : tools.path(path)
}
