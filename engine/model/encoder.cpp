#include "engine/model/encoder.h"

#include "engine/device/gemm.h"
#include "kernels/attention.h"
#include "kernels/bias_gelu.h"
#include "kernels/column_sum.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/rows.h"

namespace cloze {
namespace {

HiddenDropout hidden_dropout(const Pass& pass, int layer, DropoutSite site) {
    if (!pass.training || pass.config.hidden_dropout_prob == 0) return {};
    return {.probability = pass.config.hidden_dropout_prob,
            .layer = layer,
            .site = site,
            .state = pass.state,
            .row_sample = pass.batch.row_sample,
            .row_position = pass.batch.position_id};
}

/// The same behind attention, where rows may be those of the heads alone; a row keeps its mask.
HiddenDropout hidden_dropout(const Pass& pass, const LayerActivations& layer, int number, DropoutSite site) {
    HiddenDropout dropout = hidden_dropout(pass, number, site);
    if (!layer.head_input || dropout.probability == 0) return dropout;
    dropout.row_sample = pass.batch.head_sample.column_range(0, layer.head_input.rows);
    dropout.row_position = pass.batch.head_position.column_range(0, layer.head_input.rows);
    return dropout;
}

AttentionDropout attention_dropout(const Pass& pass, int layer) {
    if (!pass.training || pass.config.attention_probs_dropout_prob == 0) return {};
    return {.probability = pass.config.attention_probs_dropout_prob,
            .layer = layer,
            .state = pass.state,
            .sequence_sample = pass.batch.sequence_sample};
}

void embed(const Pass& pass, Activations& activations) {
    const ParameterView& weights = pass.weights;
    const ParameterTable& table = *weights.table;
    embedding_forward({.y = activations.embedding,
                       .sum = activations.embedding_norm.sum,
                       .mean = activations.embedding_norm.mean,
                       .rstd = activations.embedding_norm.rstd,
                       .token_id = pass.batch.token_id,
                       .position_id = pass.batch.position_id,
                       .type_id = pass.batch.type_id,
                       .word = weights[table.word],
                       .position = weights[table.position],
                       .type = weights[table.token_type],
                       .gamma = weights[table.embedding_norm.gamma],
                       .beta = weights[table.embedding_norm.beta],
                       .epsilon = pass.config.layer_norm_eps,
                       .dropout = hidden_dropout(pass, 0, DropoutSite::embedding)},
                      pass.compute);
}

void embed_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                    const ParameterView& gradients, bool accumulate) {
    const ParameterTable& table = *pass.weights.table;
    const BatchTensors& batch = pass.batch;
    const std::int64_t scratch = embedding_backward_scratch(batch.capacity.tokens, pass.config.hidden_size);
    embedding_backward({.dword = gradients[table.word],
                        .dposition = gradients[table.position],
                        .dtoken_type = gradients[table.token_type],
                        .dgamma = gradients[table.embedding_norm.gamma],
                        .dbeta = gradients[table.embedding_norm.beta],
                        .dsum = buffers.dbranch,
                        .scratch = buffers.scratch.column_range(0, scratch),
                        .dy = buffers.dhidden,
                        .sum = activations.embedding_norm.sum,
                        .mean = activations.embedding_norm.mean,
                        .rstd = activations.embedding_norm.rstd,
                        .gamma = pass.weights[table.embedding_norm.gamma],
                        .token_id = batch.token_id,
                        .token_order = batch.token_order,
                        .position_id = batch.position_id,
                        .position_order = batch.position_order,
                        .type_id = batch.type_id,
                        .type_order = batch.type_order,
                        .counts = batch.counts,
                        .accumulate = accumulate,
                        .accumulate_word = true,
                        .dropout = hidden_dropout(pass, 0, DropoutSite::embedding)},
                       pass.compute);
}

/// y [R, h] = the rows of x [T, h] that the heads read: masked positions, then [CLS] as far as there is room.
void gather_head_rows(const Pass& pass, const Tensor& y, const Tensor& x) {
    const std::int64_t masked = pass.batch.masked_row.cols, first = y.rows - masked;
    rows_gather(
        {.y = y.row_range(0, masked), .x = x, .index = pass.batch.masked_row, .used = &pass.batch.counts->masked},
        pass.compute);
    if (first == 0) return;
    rows_gather(
        {.y = y.row_range(masked, first), .x = x, .index = pass.batch.first_row, .used = &pass.batch.counts->sequences},
        pass.compute);
}

/// The way back: x [T, h] = y in these rows, zero in the others.
void scatter_head_rows(const Pass& pass, const Tensor& x, const Tensor& y) {
    const std::int64_t masked = pass.batch.masked_row.cols, first = y.rows - masked;
    rows_scatter({.x = x,
                  .y = y.row_range(0, masked),
                  .index = pass.batch.masked_row,
                  .used = &pass.batch.counts->masked,
                  .accumulate = false},
                 pass.compute);
    if (first == 0) return;
    rows_scatter({.x = x,
                  .y = y.row_range(masked, first),
                  .index = pass.batch.first_row,
                  .used = &pass.batch.counts->sequences,
                  .accumulate = true},
                 pass.compute);
}

/// LayerNorm(residual + dropout(norm.sum + bias)): the end of both halves of a layer. norm.sum holds the GEMM's output.
struct ResidualNorm {
    const NormActivations& norm;
    Tensor y;
    Tensor residual;
    NormIndex parameters;
    int bias;
    HiddenDropout dropout;
};

void residual_norm(const Pass& pass, const ResidualNorm& block) {
    layer_norm_forward({.y = block.y,
                        .sum = block.norm.sum,
                        .mean = block.norm.mean,
                        .rstd = block.norm.rstd,
                        .x = block.norm.sum,
                        .bias = pass.weights[block.bias],
                        .residual = block.residual,
                        .gamma = pass.weights[block.parameters.gamma],
                        .beta = pass.weights[block.parameters.beta],
                        .epsilon = pass.config.layer_norm_eps,
                        .dropout = block.dropout},
                       pass.compute);
}

/// What flows back through the half of a layer behind attention, [R, h] each.
struct Flow {
    Tensor dhidden;  // gradient of its output, then of its input
    Tensor dbranch;  // gradient of what entered the residual sum
};

Flow flow_of(const LayerActivations& layer, const BackwardBuffers& buffers) {
    if (!layer.head_input) return {buffers.dhidden, buffers.dbranch};
    return {buffers.dhead, buffers.dbranch.row_range(0, buffers.dhead.rows)};
}

/// dhidden: gradient of y in, of the residual out. dbranch: gradient of the GEMM's output, out.
void residual_norm_backward(const Pass& pass, const ResidualNorm& block, const Flow& flow,
                            const BackwardBuffers& buffers, const ParameterView& gradients, bool accumulate) {
    const std::int64_t scratch = layer_norm_backward_scratch(block.norm.sum.rows, block.norm.sum.cols);
    layer_norm_backward({.dx = flow.dbranch,
                         .dresidual = flow.dhidden,
                         .dgamma = gradients[block.parameters.gamma],
                         .dbeta = gradients[block.parameters.beta],
                         .dbias = gradients[block.bias],
                         .scratch = buffers.scratch.column_range(0, scratch),
                         .dy = flow.dhidden,
                         .sum = block.norm.sum,
                         .mean = block.norm.mean,
                         .rstd = block.norm.rstd,
                         .gamma = pass.weights[block.parameters.gamma],
                         .accumulate = accumulate,
                         .dropout = block.dropout},
                        pass.compute);
}

ResidualNorm attention_end(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, int number) {
    return {.norm = layer.attention_norm,
            .y = layer.attention_output,
            .residual = layer.head_input ? layer.head_input : layer.input,
            .parameters = index.attention_norm,
            .bias = index.attention_output.bias,
            .dropout = hidden_dropout(pass, layer, number, DropoutSite::attention_output)};
}

ResidualNorm feed_forward_end(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, int number) {
    return {.norm = layer.output_norm,
            .y = layer.output,
            .residual = layer.attention_output,
            .parameters = index.output_norm,
            .bias = index.output.bias,
            .dropout = hidden_dropout(pass, layer, number, DropoutSite::ffn_output)};
}

void layer_forward(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, int number) {
    const ParameterView& weights = pass.weights;
    const Compute& compute = pass.compute;

    gemm({.d = layer.qkv,
          .a = layer.input,
          .b = weights.qkv_weight(index),
          .transpose_b = true,
          .bias = weights.qkv_bias(index)},
         compute);
    attention_forward({.y = layer.context,
                       .log_sum_exp = layer.log_sum_exp,
                       .qkv = layer.qkv,
                       .offset = pass.batch.offset,
                       .heads = pass.config.num_attention_heads,
                       .visible = pass.config.visible,
                       .dropout = attention_dropout(pass, number)},
                      compute);
    if (layer.head_input) {
        gather_head_rows(pass, layer.head_input, layer.input);
        gather_head_rows(pass, layer.head_context, layer.context);
    }
    gemm({.d = layer.attention_norm.sum,
          .a = layer.head_context ? layer.head_context : layer.context,
          .b = weights[index.attention_output.weight],
          .transpose_b = true},
         compute);
    residual_norm(pass, attention_end(pass, layer, index, number));

    gemm({.d = layer.intermediate,
          .a = layer.attention_output,
          .b = weights[index.intermediate.weight],
          .transpose_b = true},
         compute);
    bias_gelu_forward({.y = layer.activated,
                       .x = layer.intermediate,
                       .bias = weights[index.intermediate.bias],
                       .form = pass.config.gelu()},
                      compute);
    gemm({.d = layer.output_norm.sum, .a = layer.activated, .b = weights[index.output.weight], .transpose_b = true},
         compute);
    residual_norm(pass, feed_forward_end(pass, layer, index, number));
}

void feed_forward_backward(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, const Flow& flow,
                           const BackwardBuffers& buffers, const ParameterView& gradients, bool accumulate) {
    const ParameterView& weights = pass.weights;
    const std::int64_t rows = layer.intermediate.rows;
    const std::int64_t wide = layer.intermediate.cols;
    const Tensor dactivated = buffers.dwide.column_range(0, rows * wide).reshaped(rows, wide);

    gemm({.d = gradients[index.output.weight],
          .a = flow.dbranch,
          .b = layer.activated,
          .transpose_a = true,
          .accumulate = accumulate},
         pass.compute);
    gemm({.d = dactivated, .a = flow.dbranch, .b = weights[index.output.weight]}, pass.compute);
    bias_gelu_backward({.dx = dactivated,
                        .dbias = gradients[index.intermediate.bias],
                        .scratch = buffers.scratch.column_range(0, bias_gelu_backward_scratch(rows, wide)),
                        .dy = dactivated,
                        .x = layer.intermediate,
                        .bias = weights[index.intermediate.bias],
                        .form = pass.config.gelu(),
                        .accumulate = accumulate},
                       pass.compute);
    gemm({.d = gradients[index.intermediate.weight],
          .a = dactivated,
          .b = layer.attention_output,
          .transpose_a = true,
          .accumulate = accumulate},
         pass.compute);
    gemm({.d = flow.dhidden, .a = dactivated, .b = weights[index.intermediate.weight], .accumulate = true},
         pass.compute);
}

/// The gradients of weights and input of attention's output projection. Behind it every row counts again: context and
/// dhidden are those of all tokens.
void attention_output_backward(const Pass& pass, const LayerActivations& layer, const LayerIndex& index,
                               const Flow& flow, const BackwardBuffers& buffers, const ParameterView& gradients,
                               bool accumulate) {
    const Tensor weight = pass.weights[index.attention_output.weight];
    gemm({.d = gradients[index.attention_output.weight],
          .a = flow.dbranch,
          .b = layer.head_context ? layer.head_context : layer.context,
          .transpose_a = true,
          .accumulate = accumulate},
         pass.compute);
    if (!layer.head_context) return gemm({.d = buffers.dcontext, .a = flow.dbranch, .b = weight}, pass.compute);
    const std::int64_t rows = flow.dbranch.rows, hidden = flow.dbranch.cols;
    const Tensor dhead_context = buffers.dwide.column_range(0, rows * hidden).reshaped(rows, hidden);
    gemm({.d = dhead_context, .a = flow.dbranch, .b = weight}, pass.compute);
    scatter_head_rows(pass, buffers.dcontext, dhead_context);
    scatter_head_rows(pass, buffers.dhidden, flow.dhidden);
}

void self_attention_backward(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, int number,
                             const BackwardBuffers& buffers, const ParameterView& gradients, bool accumulate) {
    const ParameterView& weights = pass.weights;
    const std::int64_t tokens = layer.qkv.rows;
    const std::int64_t wide = layer.qkv.cols;
    const std::int64_t heads = pass.config.num_attention_heads;
    const Tensor dqkv = buffers.dwide.column_range(0, tokens * wide).reshaped(tokens, wide);

    attention_backward(
        {.dqkv = dqkv,
         .scratch = buffers.scratch.column_range(0, attention_backward_scratch(tokens, heads, wide / 3 / heads)),
         .dy = buffers.dcontext,
         .y = layer.context,
         .log_sum_exp = layer.log_sum_exp,
         .qkv = layer.qkv,
         .offset = pass.batch.offset,
         .heads = heads,
         .visible = pass.config.visible,
         .dropout = attention_dropout(pass, number)},
        pass.compute);
    column_sum({.sum = gradients.qkv_bias(index),
                .scratch = buffers.scratch.column_range(0, column_sum_scratch(tokens, wide)),
                .x = dqkv,
                .accumulate = accumulate},
               pass.compute);
    gemm({.d = gradients.qkv_weight(index), .a = dqkv, .b = layer.input, .transpose_a = true, .accumulate = accumulate},
         pass.compute);
    gemm({.d = buffers.dhidden, .a = dqkv, .b = weights.qkv_weight(index), .accumulate = true}, pass.compute);
}

void layer_backward(const Pass& pass, const LayerActivations& layer, const LayerIndex& index, int number,
                    const BackwardBuffers& buffers, const ParameterView& gradients, bool accumulate) {
    const Flow flow = flow_of(layer, buffers);
    residual_norm_backward(pass, feed_forward_end(pass, layer, index, number), flow, buffers, gradients, accumulate);
    feed_forward_backward(pass, layer, index, flow, buffers, gradients, accumulate);
    residual_norm_backward(pass, attention_end(pass, layer, index, number), flow, buffers, gradients, accumulate);
    attention_output_backward(pass, layer, index, flow, buffers, gradients, accumulate);
    self_attention_backward(pass, layer, index, number, buffers, gradients, accumulate);
}

}  // namespace

void encoder_forward(const Pass& pass, Activations& activations) {
    embed(pass, activations);
    for (std::size_t i = 0; i < activations.layers.size(); ++i) {
        layer_forward(pass, activations.layers[i], pass.weights.table->layers[i], static_cast<int>(i));
    }
}

void encoder_backward(const Pass& pass, const Activations& activations, const BackwardBuffers& buffers,
                      const ParameterView& gradients, bool accumulate) {
    for (std::size_t i = activations.layers.size(); i-- > 0;) {
        layer_backward(pass, activations.layers[i], pass.weights.table->layers[i], static_cast<int>(i), buffers,
                       gradients, accumulate);
    }
    embed_backward(pass, activations, buffers, gradients, accumulate);
}

}  // namespace cloze
