import { openTools, type Tools } from '../system/tools.ts'

export interface ToolsFlag {
  readonly tools?: 'tree' | 'host'
}

/** The tools that --tools names; without it, what set-up was told. Throws HostError `setup-missing`. */
export function chosenTools({ tools }: ToolsFlag): Promise<Tools> {
  return openTools(tools ? { environment: { ...process.env, ATTESTBED_TOOLS: tools } } : {})
}
