"""LayerNorm and attention as graphs of cuDNN itself, for peers.py: the Python module `cudnn` of nvidia-cudnn-frontend,
which tests/carry.sh puts into .carry/python for a machine without packages; the library is the one PyTorch brings.

A graph is built once and runs on several sets of buffers by turns. Attention reads one packed matrix of queries, keys
and values, as Cloze does, and keeps the statistics that backward needs.
"""

import math
import pathlib
import sys

import torch

CARRIED = pathlib.Path(__file__).resolve().parents[1] / ".carry" / "python"
HEAD_SIZE = 64
EPSILON = 1e-5


def load():
    """The module; ImportError where it is neither installed nor carried, or for another Python."""
    if CARRIED.is_dir():
        sys.path.append(str(CARRIED))
    import cudnn

    return cudnn


class Tensors:
    """Buffers by name, in the places of one graph."""

    def __init__(self, cudnn, handle, dtype):
        self.cudnn, self.handle = cudnn, handle
        major, minor = torch.cuda.get_device_capability()
        types = {torch.bfloat16: cudnn.data_type.BFLOAT16, torch.float32: cudnn.data_type.FLOAT}
        self.graph = cudnn.pygraph(io_data_type=types[dtype], intermediate_data_type=cudnn.data_type.FLOAT,
                                   compute_data_type=cudnn.data_type.FLOAT, handle=handle,
                                   sm_version=10 * major + minor)
        self.places = {}

    def input(self, name, like, by_value=False):
        self.places[name] = self.graph.tensor(name=name, dim=list(like.size()), stride=list(like.stride()),
                                              data_type=like.dtype, is_pass_by_value=by_value)
        return self.places[name]

    def output(self, name, place, like):
        place.set_output(True).set_dim(list(like.size())).set_stride(list(like.stride()))
        place.set_data_type(like.dtype)
        self.places[name] = place

    def build(self):
        """A call for buffers of these names. What cuDNN does not offer is its exception."""
        self.graph.validate()
        self.graph.build_operation_graph()
        self.graph.create_execution_plans([self.cudnn.heur_mode.A, self.cudnn.heur_mode.FALLBACK])
        self.graph.check_support()
        self.graph.build_plans()
        workspace = torch.empty(max(1, self.graph.get_workspace_size()), device="cuda", dtype=torch.uint8)
        return lambda buffers: lambda: self.graph.execute({place: buffers[name] for name, place in self.places.items()},
                                                          workspace, handle=self.handle)


class CudnnGraphs:
    """Calls of forward or backward, one for each set of buffers."""

    def __init__(self):
        self.cudnn = load()
        self.handle = self.cudnn.create_handle()
        self.cudnn.set_stream(handle=self.handle, stream=torch.cuda.current_stream().cuda_stream)

    def random(self, *shape, dtype=torch.bfloat16, mean=0.0, deviation=1.0):
        return torch.randn(*shape, device="cuda").mul_(deviation).add_(mean).to(dtype)

    def layer_norm(self, case, dtype, sets):
        rows, cols = case["sizes"]["rows"], case["sizes"]["cols"]
        batch = math.gcd(rows, 8)
        buffers = [dict(x=self.random(batch, rows // batch, cols, dtype=dtype),
                        y=self.random(batch, rows // batch, cols, dtype=dtype),  # dy in backward
                        dx=self.random(batch, rows // batch, cols, dtype=dtype),
                        gamma=self.random(1, 1, cols, dtype=dtype, mean=1.0, deviation=0.1),
                        beta=self.random(1, 1, cols, dtype=dtype, deviation=0.1),
                        dgamma=self.random(1, 1, cols, dtype=dtype), dbeta=self.random(1, 1, cols, dtype=dtype),
                        mean=self.random(batch, rows // batch, 1, dtype=torch.float32, deviation=0.1),
                        rstd=self.random(batch, rows // batch, 1, dtype=torch.float32, mean=1.0, deviation=0.05),
                        epsilon=torch.full((1, 1, 1), EPSILON)) for _ in range(sets)]
        forward = case["op"].endswith("_forward")
        build = self.layer_norm_forward if forward else self.layer_norm_backward
        call = build(Tensors(self.cudnn, self.handle, dtype), buffers[0])
        return [call(one) for one in buffers]

    def layer_norm_forward(self, tensors, like):
        inputs = {name: tensors.input(name, like[name]) for name in ("x", "gamma", "beta")}
        epsilon = tensors.input("epsilon", like["epsilon"], by_value=True)
        y, mean, rstd = tensors.graph.layernorm(
            norm_forward_phase=self.cudnn.norm_forward_phase.TRAINING, input=inputs["x"], scale=inputs["gamma"],
            bias=inputs["beta"], epsilon=epsilon, name="layer_norm")
        for name, place in (("y", y), ("mean", mean), ("rstd", rstd)):
            tensors.output(name, place, like[name])
        return tensors.build()

    def layer_norm_backward(self, tensors, like):
        inputs = {name: tensors.input(name, like[name]) for name in ("y", "x", "gamma", "mean", "rstd")}
        dx, dgamma, dbeta = tensors.graph.layernorm_backward(
            grad=inputs["y"], input=inputs["x"], scale=inputs["gamma"], mean=inputs["mean"],
            inv_variance=inputs["rstd"], name="layer_norm_backward")
        for name, place in (("dx", dx), ("dgamma", dgamma), ("dbeta", dbeta)):
            tensors.output(name, place, like[name])
        return tensors.build()

    def attention(self, case, dtype, sets, deterministic=False):
        tokens, length, heads = (case["sizes"][name] for name in ("tokens", "length", "heads"))
        sequences = tokens // length
        dropout = 0.1 if case["variant"].endswith(", dropout 0.1") else 0.0

        def buffers_of():
            packed = {name: self.random(sequences, length, 3, heads, HEAD_SIZE, dtype=dtype) for name in ("", "d")}
            buffers = {change + name: packed[change][:, :, i].transpose(1, 2)
                       for change in packed for i, name in enumerate("qkv")}
            for name in ("o", "do"):
                buffers[name] = self.random(sequences, length, heads, HEAD_SIZE, dtype=dtype).transpose(1, 2)
            buffers["statistics"] = torch.zeros(sequences, heads, length, 1, device="cuda")
            if dropout:
                for name in ("seed", "offset"):
                    buffers[name] = torch.ones(1, 1, 1, 1, dtype=torch.int64, device="cuda")
            return buffers

        buffers = [buffers_of() for _ in range(sets)]
        forward = self.attention_forward(Tensors(self.cudnn, self.handle, dtype), buffers[0], dropout)
        calls = [forward(one) for one in buffers]
        if case["op"].endswith("_forward"):
            return calls
        for call in calls:  # backward reads the statistics and the output
            call()
        backward = self.attention_backward(Tensors(self.cudnn, self.handle, dtype), buffers[0], dropout, deterministic)
        return [backward(one) for one in buffers]

    def attention_settings(self, tensors, like, dropout):
        settings = dict(attn_scale=1 / math.sqrt(HEAD_SIZE))
        if dropout:
            settings["dropout"] = (dropout, tensors.input("seed", like["seed"]),
                                   tensors.input("offset", like["offset"]))
        return settings

    def attention_forward(self, tensors, like, dropout):
        inputs = {name: tensors.input(name, like[name]) for name in ("q", "k", "v")}
        o, statistics = tensors.graph.sdpa(**inputs, generate_stats=True, name="attention",
                                           **self.attention_settings(tensors, like, dropout))
        tensors.output("o", o, like["o"])
        tensors.output("statistics", statistics, like["statistics"])
        return tensors.build()

    def attention_backward(self, tensors, like, dropout, deterministic):
        inputs = {name: tensors.input(name, like[name]) for name in ("q", "k", "v", "o")}
        gradients = tensors.graph.sdpa_backward(
            **inputs, dO=tensors.input("do", like["do"]), stats=tensors.input("statistics", like["statistics"]),
            use_deterministic_algorithm=deterministic, name="attention_backward",
            **self.attention_settings(tensors, like, dropout))
        for name, place in zip(("dq", "dk", "dv"), gradients, strict=True):
            tensors.output(name, place, like[name])
        return tensors.build()
