"""What Proctor does about a finding: decide by the policy, and act on the process tree."""
