# Trains the small model from nothing: tokenizer, VAE, text encoder with transformer; and writes it out.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Clips are rendered on the device. What a later run needs lies in the state folder (state.py); a run goes on where the
# last one was saved. Every draw comes from the seed and the number of the step.
#
#     python3 train.py all    --state DIR --out FOLDER          everything
#     python3 train.py vae    --state DIR                       the parts, in this order; each goes on where it was
#     python3 train.py dit    --state DIR
#     python3 train.py export --state DIR --out FOLDER
#     python3 train.py pack   --state DIR --out FOLDER          the state's compact files, for carrying
#     python3 train.py sweep  --state DIR                       scores of held-out prompts by guidance and steps
#     python3 train.py probe                                    a minute's look at the device before a long run
#     python3 train.py plan                                     what it costs, in FLOP
#     python3 train.py --smoke                                  all of it, tiny, on one CPU thread, in a minute
#     python3 train.py STAGE --smoke ...                        one of the above at that size
import argparse
import os
import shutil
import sys
import tarfile
import tempfile
import time

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "judge"))

import model                        # noqa: E402
import tokenizer as vocabulary      # noqa: E402
import train_dit                    # noqa: E402
import train_vae                    # noqa: E402
from clips import Clips             # noqa: E402
from scenes import FRAMES, SIZES    # noqa: E402
from state import averages, load_shards, read_json      # noqa: E402

# What --smoke sets
SMOKE = dict(config=os.path.join(HERE, "configs", "smoke"), device="cpu", sizes=((32, 32), (48, 32)), frames=9,
             vae_batch=2, vae_steps=24, vae_clips=8, stat_clips=8, encode_batch=4, pool=16, dit_batch=4,
             dit_steps=24, captions=2500, log_every=4, look_every=12, looks=6, look_steps=2, refresh_every=4,
             judges=1, compile=False, text_steps=20, text_batch=8, held_clips=8, course="1:0.3,2:0.6,3:1")


def prepare(args):
    os.makedirs(args.state, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if args.compile:
        import torch._dynamo as dynamo
        for name in ("recompile_limit", "cache_size_limit"):        # its name depends on the version
            if hasattr(dynamo.config, name):
                setattr(dynamo.config, name, 64)
        dynamo.config.suppress_errors = True                        # what does not compile runs as it is
        model.FUSED["silu"] = torch.compile(model.normalise_silu, dynamic=True)
    if args.begin and args.stage == "dit" and not os.path.exists(os.path.join(args.state, "vae.json")):
        train_vae.adopt(args)
    if not os.path.exists(os.path.join(args.state, "spiece.model")):
        print("tokenizer:", vocabulary.train_spm(args.state, args.captions), "bytes", flush=True)
        vocabulary.write_json(args.state)


def export(args):
    """The folder that ships: the averaged weights in f16."""
    saved, stats = averages(args.state, "dit"), read_json(os.path.join(args.state, "vae.json"))["statistics"]
    part = lambda pre: {k[len(pre):]: v for k, v in saved.items() if k.startswith(pre)}       # noqa: E731
    model.export(args.config, args.out, averages(args.state, "vae"), part("dit."), part("text."), stats, args.state)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(args.out) for f in fs)
    print(f"{args.out}: {size / 2 ** 20:.2f} MiB")


def pack(args):
    """Copies of one moment's compact files, the small ones in a tar: at most 8 files, none above 16 MiB."""
    os.makedirs(args.out, exist_ok=True)
    for _ in range(20):                     # the training may just be writing
        big = [n for n in os.listdir(args.state) if n.endswith(".safetensors")]
        try:
            for n in big:
                shutil.copy(os.path.join(args.state, n), os.path.join(args.out, n))
            for name in ("vae", "dit"):
                load_shards(args.out, name)
            break
        except (SystemExit, OSError):
            time.sleep(1)
    else:
        raise SystemExit("the state's files do not belong together")
    with tarfile.open(os.path.join(args.out, "small.tar"), "w") as tar:
        for n in sorted(os.listdir(args.state)):
            path = os.path.join(args.state, n)
            if os.path.isfile(path) and not n.endswith((".safetensors", ".new")) and os.path.getsize(path) < 4 << 20:
                tar.add(path, n)
    total = sum(os.path.getsize(os.path.join(args.out, n)) for n in os.listdir(args.out))
    print(f"{args.out}: {len(big) + 1} files, {total / 2 ** 20:.1f} MiB")


def sweep(args):
    """Scores of the averaged model by guidance and number of steps; lines of scores.csv."""
    import looks
    nets = train_dit.new_nets(args)
    saved = averages(args.state, "dit")
    model.load_state(nets[0], {k[4:]: v for k, v in saved.items() if k.startswith("dit.")})
    model.load_state(nets[1], {k[5:]: v for k, v in saved.items() if k.startswith("text.")})
    stats = read_json(os.path.join(args.state, "vae.json"))["statistics"]
    args.pool = 1                           # nothing is trained
    pool, judging = train_dit.Pool(args, train_vae.done_vae(args), stats, 1 << 33), looks.Judging(args)
    tok = vocabulary.Tokenizer(args.state)
    for steps in (args.look_steps, 2 * args.look_steps):
        for guidance in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if steps == args.look_steps else (4.0,):
            args.look_steps = steps
            judging.look(0, nets, tok, pool, guidance, f"sweep of {steps} steps")
    judging.collect(wait=True)


def probe(args):
    """Seconds of rendering, of a step of each training, and memory, before anything long is begun."""
    def timed(what, f, n=5, warm=3):
        for k in range(warm + n):
            if k == warm:
                if args.device == "cuda":
                    torch.cuda.synchronize()
                start = time.time()
            f()
        if args.device == "cuda":
            torch.cuda.synchronize()
        print(f"{what}: {1000 * (time.time() - start) / n:.1f} ms", flush=True)

    args.looks, args.pool, args.vae_clips = 8, min(args.pool, 256), min(args.vae_clips, 256)
    print(torch.__version__, torch.backends.cudnn.version(), args.device, flush=True)
    clips = Clips(args, args.vae_clips, 1 << 34)
    for i in range(len(args.sizes)):
        clips.next(i)
    timed(f"rendering {args.encode_batch} clips", lambda: clips.next(0))
    for _ in clips.fill():
        pass
    vae = train_vae.new_vae(args)
    train_vae.choose_convolution(args, vae, clips)
    steps = iter(range(1 << 20))
    timed("a step of the VAE without its optimizer", lambda: train_vae.losses_of(
        args, vae, train_vae.batch_of(args, clips, 4 * next(steps)))[0].backward())
    timed(f"encoding {args.encode_batch} clips", lambda: train_vae.encode(args, vae, clips.data[0][:args.encode_batch]))
    nets, tok = train_dit.new_nets(args), vocabulary.Tokenizer(args.state)
    if args.compile:
        nets[0].run_block = torch.compile(model.Block.forward)
    stats = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
    pool = train_dit.Pool(args, vae.requires_grad_(False), stats, 1 << 35)
    start = time.time()
    timed(f"a step of the transformer, {args.dit_batch} clips, without its optimizer", lambda: train_dit.flow_loss(
        args, nets, tok, pool.draw(train_dit.seeded(next(steps)), args.dit_batch),
        train_dit.seeded(1)).backward(), 10, 6)
    print(f"with compiling {time.time() - start:.0f} s", flush=True)
    if args.device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB")


def plan(args):
    """FLOP of one clip of 128x128x33 and what follows at a given speed."""
    from torch.utils.flop_counter import FlopCounterMode

    def count(f):
        with FlopCounterMode(display=False) as c:
            f()
        return c.get_total_flops() / 1e9

    with torch.device("meta"):
        vae, dit = model.Vae(model.config(args.config, "vae")), model.Dit(model.config(args.config, "transformer"))
    clip, z = torch.empty(1, 3, FRAMES, 128, 128, device="meta"), torch.empty(1, 16, 9, 16, 16, device="meta")
    text = torch.empty(1, train_dit.TEXT_PAD, dit.config["text_dim"], device="meta")
    enc, dec = count(lambda: vae.encode(clip)), count(lambda: vae.decode(z))
    one = count(lambda: dit(z, torch.empty(1, 9, device="meta"), text))
    full = count(lambda: dit(z, torch.empty(1, 9, device="meta"), F.pad(text, (0, 0, 0, 512 - train_dit.TEXT_PAD))))
    print(f"per clip of 128x128x33, GFLOP: encode {enc:.0f}, decode {dec:.0f}, transformer {one:.1f} "
          f"({full:.1f} with all 512 text tokens)")
    print(f"generating, 20 steps with guidance: {40 * full + dec:.0f} GFLOP")
    v = 3 * (enc + dec) * args.vae_batch * 17 / 33
    print(f"VAE, a step of {args.vae_batch} pieces of 17 frames: {v / 1e3:.1f} TFLOP; at 50 TFLOP/s {v / 50:.0f} ms")
    d = 3 * one * args.dit_batch
    print(f"transformer, a step of {args.dit_batch} clips: {d / 1e3:.1f} TFLOP; at 80 TFLOP/s {d / 80:.0f} ms")
    p = args.pool * enc * (1 + 0.5 * 39 / 33)
    print(f"pool of {args.pool} clips with their trails: {p / 1e3:.0f} TFLOP; at 50 TFLOP/s {p / 50e3:.0f} s")


def smoke(args):
    """Every stage at a tiny size, with a stop and a resumption in the middle of both trainings."""
    with tempfile.TemporaryDirectory() as tmp:
        args.state, args.out = args.state or os.path.join(tmp, "state"), args.out or os.path.join(tmp, "model")
        prepare(args)
        for name, stage in (("vae", train_vae.train), ("dit", train_dit.train)):
            args.stop_step = 12
            stage(args)
            shutil.rmtree(os.path.join(args.state, "whole"))        # as on another machine
            args.stop_step = None
            stage(args)
        export(args)
        packed, args.out = args.out, os.path.join(tmp, "packed")
        pack(args)
        args.out = packed
    print("smoke: all stages ran")


def arguments():
    ap = argparse.ArgumentParser(description="Trains the small model from nothing.")
    ap.add_argument("stage", nargs="?", default="all",
                    choices=("all", "vae", "dit", "export", "pack", "sweep", "probe", "plan"))
    ap.add_argument("--smoke", action="store_true")
    ap.add_argument("--state")
    ap.add_argument("--out")
    ap.add_argument("--config", default=os.path.join(HERE, "configs", "small"))
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--stop-after", type=float, default=0, help="minutes until this run stops and saves")
    ap.add_argument("--no-compile", dest="compile", action="store_false")
    ap.add_argument("--bf16", action="store_true", help="on a CPU with instructions for it (AVX512_BF16, AMX)")
    ap.add_argument("--deterministic", action="store_true", help="the same bits again on the same machine; slower; "
                    "needs --vae-steps, --dit-steps and --look-every")
    ap.add_argument("--convolution", choices=("auto", "3d", "stacked"), default="auto")
    for name, value, what in (
            ("vae-steps", 0, "instead of --vae-minutes"), ("vae-batch", 8, None), ("vae-clips", 3072, "rendered ones"),
            ("dit-steps", 0, "instead of --dit-minutes"), ("dit-batch", 256, None), ("pool", 16384, "encoded clips"),
            ("singles", 0, "further clips whose first pictures alone are encoded"),
            ("encode-batch", 32, None), ("refresh-every", 16, "steps between new clips"), ("stat-clips", 768, None),
            ("captions", vocabulary.CAPTIONS, None), ("log-every", 25, None), ("looks", 96, "prompts per look"),
            ("look-every", 0, "steps, instead of --look-seconds"), ("look-steps", 20, None), ("frames", FRAMES, None),
            ("judges", max(1, (os.cpu_count() or 2) - 4), "processes that judge looks"),
            ("piece", 0, "side of the pieces that the VAE sees, in pixels; 0 for whole pictures"),
            ("warm", 300, "steps until the full rate"),
            ("held-clips", 64, "unseen clips whose loss is watched"), ("text-batch", 64, None),
            ("text-steps", -1, "of the text encoder by itself, first; 2000, or none with --begin")):
        ap.add_argument("--" + name, type=int, default=value, help=what)
    for name, value in (("vae-minutes", 8.5), ("dit-minutes", 16.0), ("vae-lr", 5e-3), ("dit-lr", 2e-3), ("kl", 1e-4),
                        ("shift", 3.0), ("average", 0.9995), ("save-seconds", 60.0), ("look-seconds", 120.0),
                        ("text-lr", 2e-3), ("seen", 0.2), ("rough", 0.3), ("even", 0.03), ("focus", 0.0),
                        ("camera", 0.0), ("camera-shift", 0.0), ("fewer-static", 0.0), ("fewer-easy", 0.0),
                        ("late", 0.0)):
        ap.add_argument("--" + name, type=float, default=value)
    ap.add_argument("--course", default="9:1", help="latent frames of each clip and until which share of the training, "
                    "as 1:0.2,3:0.5,9:1")
    ap.add_argument("--begin", metavar="FOLDER", help="begin with the weights of a model that export wrote")
    ap.add_argument("--decoder-only", action="store_true", help="leave the VAE's encoder, and so the latents, as it is")
    ap.add_argument("--keep-pool", action="store_true", help="leave the encoded clips in the state folder")
    ap.add_argument("--no-trails", dest="trails", action="store_false", help="no trails as the engine encodes them")
    args = ap.parse_args()
    args.sizes = SIZES
    args.compile = args.compile and args.device == "cuda"
    if args.text_steps < 0:
        args.text_steps = 0 if args.begin else 2000
    args.stop_step = None
    args.until = time.time() + 60 * args.stop_after if args.stop_after else None
    if args.decoder_only and not args.begin:
        ap.error("--decoder-only needs --begin FOLDER")
    if not args.state and args.stage not in ("plan", "probe") and not (args.smoke and args.stage == "all"):
        ap.error("--state DIR is needed")
    if not args.out and args.stage in ("all", "export", "pack") and not (args.smoke and args.stage == "all"):
        ap.error("--out FOLDER is needed")
    return args


def main():
    args = arguments()
    if args.smoke:
        torch.set_num_threads(1)
        vars(args).update(SMOKE)
        if args.stage == "all":
            return smoke(args)
    if args.stage in ("plan", "export", "pack"):
        return {"plan": plan, "export": export, "pack": pack}[args.stage](args)
    if args.stage == "probe":
        with tempfile.TemporaryDirectory() as tmp:
            args.state = args.state or tmp
            prepare(args)
            return probe(args)
    prepare(args)
    if args.stage == "sweep":
        return sweep(args)
    for name, stage in (("vae", train_vae.train), ("dit", train_dit.train)):
        if args.stage in ("all", name):
            stage(args)
            if not read_json(os.path.join(args.state, name + ".json")).get("done"):
                return 0                    # stopped: to be continued
    if args.stage == "all":
        export(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
