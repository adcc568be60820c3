# Goldens of engine/sampler.c and unipc.c: grids and whole trajectories of diffusers' schedulers, called as WanPipeline
# calls them, with the velocity v = 0.3 z + sin(t / 1000).
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import os

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from safetensors.torch import save_file

import synth

N = 7


def main():
    torch.set_num_threads(1)
    out = {}
    start = torch.from_numpy(synth.inputs(5, "sampler.z", (1, 1, 1, 1, N), 2.0))
    for kind in ("euler", "unipc", "unipc1"):
        for steps in (1, 2, 3, 4, 10, 20, 50):
            for shift in (1.0, 3.0, 5.0, 8.0):
                if kind == "unipc1" and (steps == 50 or shift != 3.0):
                    continue
                if kind == "euler":
                    s = FlowMatchEulerDiscreteScheduler(shift=shift)
                else:       # Wan's scheduler_config.json; solver_order is 2 there
                    s = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                                flow_shift=shift, solver_order=1 if kind == "unipc1" else 2)
                s.set_timesteps(steps, device="cpu")
                s.set_begin_index(0)
                z, states, ts = start, [], []
                for t in s.timesteps:
                    timestep = t.expand(1).float()      # what the transformer's embedding makes of it
                    v = 0.3 * z + torch.sin(timestep / 1000)
                    z = s.step(v, t, z, return_dict=False)[0]
                    states.append(z.flatten())
                    ts.append(timestep)
                assert s.sigmas.dtype == torch.float32 and len(s.sigmas) == steps + 1
                name = f"{kind}.{steps}.{shift:g}"
                out["sigmas." + name] = s.sigmas.clone()
                out["timesteps." + name] = torch.cat(ts)
                out["z." + name] = torch.stack(states)
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "sampler.safetensors"))


if __name__ == "__main__":
    main()
