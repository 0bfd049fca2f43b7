// The whole model: gradients against finite differences, and what must not change a result: packing, unused rows,
// earlier batches, threads, evaluation.
#include "engine/model/encoder.h"

#include <functional>

#include "tests/kernels/op_testing.h"
#include "tests/model/model_testing.h"

namespace cloze::test {
namespace {

/// Small enough for finite differences in every element; sizes that divide nothing; dropout that drops something.
BertConfig small_config() {
    BertConfig config;
    config.vocab_size = 19;
    config.hidden_size = 10;
    config.num_attention_heads = 2;
    config.num_hidden_layers = 2;
    config.intermediate_size = 13;
    config.max_position_embeddings = 9;
    config.hidden_dropout_prob = 0.3;
    config.attention_probs_dropout_prob = 0.3;
    return config;
}

/// Large enough that every op has several chunks.
BertConfig wide_config() {
    BertConfig config;
    config.vocab_size = 301;
    config.hidden_size = 48;
    config.num_attention_heads = 3;
    config.num_hidden_layers = 3;
    config.intermediate_size = 100;
    config.max_position_embeddings = 90;
    return config;
}

const std::vector<std::int64_t> kSmallLengths = {1, 9, 4, 2};
const std::vector<std::int64_t> kWideLengths = {90, 1, 37, 64, 65, 2, 88, 17};

/// A model, weights and one batch that belong together.
struct Bench {
    BertConfig config;
    ParameterTable table;
    Parameters weights;
    std::vector<Sample> samples;
    Batch batch;
    StepState state;
    PretrainingModel model;

    Bench(const BertConfig& model_config, const std::vector<std::int64_t>& lengths, DType working,
          std::int64_t spare = 0)
        : config(model_config),
          table(parameter_table(config)),
          weights(random_parameters(table, working, 5)),
          samples(random_samples(config, lengths, 11)),
          batch(make_batch(samples, capacity_for(samples, spare), config, 1000)),
          state(state_for(batch)),
          model(config, {.capacity = batch.capacity, .working = working}) {}

    double loss(bool training) {
        model.put(batch);
        model.forward(weights.view(), &state, training);
        return total_loss(model.losses(), state);
    }
    Parameters gradients() { return gradients_of(model, weights.view(), batch, state); }
};

/// Moves weights by +- epsilon and compares the change of the loss with the gradient: about `most` weights of each
/// tensor, spread evenly.
void check_gradients(const BertConfig& config, std::int64_t most, bool next_sentence = true) {
    Bench bench(config, kSmallLengths, DType::f64, 3);
    PretrainingModel model(config,
                           {.capacity = bench.batch.capacity, .working = DType::f64, .next_sentence = next_sentence});
    const Parameters gradients = gradients_of(model, bench.weights.view(), bench.batch, bench.state);
    const auto loss = [&] {
        model.put(bench.batch);
        model.forward(bench.weights.view(), &bench.state, true);
        return total_loss(model.losses(), bench.state);
    };
    const double epsilon = 1e-6;
    for (const Parameter& row : bench.table.rows) {
        const bool rests = !next_sentence && (row.name.find("pooler") != std::string::npos ||
                                              row.name.find("seq_relationship") != std::string::npos);
        const std::int64_t stride = std::max<std::int64_t>(1, row.count() / most);
        for (std::int64_t i = row.offset; i < row.offset + row.count(); i += stride) {
            const double weight = bench.weights.get(i);
            bench.weights.set(i, weight + epsilon);
            const double above = loss();
            bench.weights.set(i, weight - epsilon);
            const double below = loss();
            bench.weights.set(i, weight);
            const double expected = (above - below) / (2 * epsilon);
            if (rests) {
                REQUIRE(expected == 0);
                REQUIRE(std::isnan(gradients.get(i)));  // not written
                continue;
            }
            const double error = std::abs(gradients.get(i) - expected);
            if (!(error <= 1e-5 + 1e-3 * std::abs(expected))) {
                FAIL(row.name << " element " << i - row.offset << ": gradient " << gradients.get(i)
                              << ", finite difference " << expected);
            }
        }
        if (rests) continue;
        for (std::int64_t i = row.offset + row.count(); i < row.offset + row.padded_rows * row.cols; ++i) {
            if (gradients.get(i) != 0) FAIL(row.name << " has a gradient in its padding: " << gradients.get(i));
        }
    }
}

std::vector<Tensor> all_activations(const Activations& activations) {
    std::vector<Tensor> tensors;
    const auto norm = [&](const NormActivations& each) {
        tensors.insert(tensors.end(), {each.sum, each.mean, each.rstd});
    };
    norm(activations.embedding_norm);
    tensors.push_back(activations.embedding);
    for (const LayerActivations& layer : activations.layers) {
        norm(layer.attention_norm);
        norm(layer.output_norm);
        tensors.insert(tensors.end(), {layer.qkv, layer.log_sum_exp, layer.context, layer.attention_output,
                                       layer.intermediate, layer.activated, layer.output});
        if (layer.head_input) tensors.insert(tensors.end(), {layer.head_input, layer.head_context});
    }
    const HeadActivations& heads = activations.heads;
    norm(heads.transform_norm);
    tensors.insert(tensors.end(), {heads.masked, heads.transform, heads.transformed, heads.logits, heads.masked_loss,
                                   heads.first, heads.pooled, heads.next_sentence_logits, heads.next_sentence_loss});
    return tensors;
}

void fill_with_nan(const Activations& activations) {
    for (const Tensor& tensor : all_activations(activations)) {
        visit_float(tensor.dtype, [&]<typename T>() {
            std::fill_n(tensor.data<T>(), tensor.count(), std::numeric_limits<T>::quiet_NaN());
        });
    }
}

/// Row `row` of the logits, without the padding of the vocabulary.
std::vector<double> logits_row(const PretrainingModel& model, std::int64_t row) {
    const Tensor& logits = model.activations().heads.logits;
    std::vector<double> values;
    visit_float(logits.dtype, [&]<typename T>() {
        const T* begin = logits.data<T>() + row * logits.stride;
        values.assign(begin, begin + model.config().vocab_size);
    });
    return values;
}

/// a += b
void add_to(Parameters& a, const Parameters& b) {
    for (std::int64_t i = 0; i < a.table().elements; ++i) a.set(i, a.get(i) + b.get(i));
}

}  // namespace

TEST_CASE("every gradient of the model equals finite differences") {
    with_threads(1, [] { check_gradients(small_config(), 1000); });
}

TEST_CASE("gradients equal finite differences for every visibility, and for the tanh form of GELU") {
    with_threads(1, [] {
        for (const Visible visible : {Visible::past, Visible::future, Visible::strict_past, Visible::strict_future}) {
            BertConfig config = small_config();
            config.visible = visible;
            INFO("visible " << static_cast<int>(visible));
            check_gradients(config, 19);
        }
        BertConfig config = small_config();
        config.hidden_act = "gelu_new";
        check_gradients(config, 19);
    });
}

TEST_CASE("gradients equal finite differences without the next-sentence task, whose parameters get none") {
    with_threads(1, [] { check_gradients(small_config(), 19, false); });
}

TEST_CASE("gradients equal finite differences without layers, and with one head") {
    with_threads(1, [] {
        BertConfig config = small_config();
        config.num_hidden_layers = 0;
        check_gradients(config, 19);
        config.num_hidden_layers = 1;
        config.num_attention_heads = 1;
        check_gradients(config, 19);
    });
}

TEST_CASE("packing does not change the result: sequences alone, together, in another order") {
    for (const DType working : {DType::f64, DType::f32}) {
        const double tolerance = working == DType::f64 ? 1e-12 : 1e-5;
        Bench bench(wide_config(), kWideLengths, working);
        const Parameters together = bench.gradients();
        const LossSums sums = bench.model.losses();

        // Alone: one sequence in each micro-batch, under the same stream index.
        Parameters added(bench.table, working);
        LossSums alone_sums;
        for (std::size_t i = 0; i < bench.samples.size(); ++i) {
            const std::span one(&bench.samples[i], 1);
            const Batch batch = make_batch(one, capacity_for(one), bench.config, 1000 + i);
            PretrainingModel model(bench.config, {.capacity = batch.capacity, .working = working});
            const Parameters gradients = gradients_of(model, bench.weights.view(), batch, bench.state);
            alone_sums += model.losses();
            if (i == 0)
                added = gradients;
            else
                add_to(added, gradients);
        }
        REQUIRE(std::abs(alone_sums.masked_loss - sums.masked_loss) <= tolerance * sums.masked_loss);
        REQUIRE(std::abs(alone_sums.next_sentence_loss - sums.next_sentence_loss) <=
                tolerance * sums.next_sentence_loss);
        REQUIRE(alone_sums.masked_correct == sums.masked_correct);
        REQUIRE(alone_sums.next_sentence_correct == sums.next_sentence_correct);
        REQUIRE(relative_distance(added, together) <= tolerance);

        // Reversed, with room to spare.
        Batch reversed = empty_batch(capacity_for(bench.samples, 77));
        for (std::size_t i = bench.samples.size(); i-- > 0;) {
            append_sample(reversed, bench.samples[i], 1000 + i, limits_of(bench.config));
        }
        finish_batch(reversed, limits_of(bench.config));
        PretrainingModel model(bench.config, {.capacity = reversed.capacity, .working = working});
        const Parameters gradients = gradients_of(model, bench.weights.view(), reversed, bench.state);
        REQUIRE(std::abs(model.losses().masked_loss - sums.masked_loss) <= tolerance * sums.masked_loss);
        REQUIRE(relative_distance(gradients, together) <= tolerance);
    }
}

TEST_CASE("what unused rows hold changes nothing, to the bit") {
    for (const DType working : {DType::f64, DType::f32}) {
        Bench bench(wide_config(), kWideLengths, working, 70);
        const Parameters expected = bench.gradients();
        const LossSums sums = bench.model.losses();
        const auto used_tokens = static_cast<std::size_t>(bench.batch.counts.tokens);
        const auto used_masked = static_cast<std::size_t>(bench.batch.counts.masked);
        const auto used_sequences = static_cast<std::size_t>(bench.batch.counts.sequences);
        for (std::size_t row = used_tokens; row < bench.batch.token_id.size(); ++row) {
            bench.batch.token_id[row] = static_cast<std::int32_t>(row % 300);
            bench.batch.position_id[row] = static_cast<std::int32_t>(row % 90);
            bench.batch.type_id[row] = static_cast<std::int32_t>(row % 2);
            bench.batch.row_sample[row] = row;
        }
        for (std::size_t i = used_masked; i < bench.batch.masked_row.size(); ++i) {
            bench.batch.masked_row[i] = static_cast<std::int32_t>(i);
            bench.batch.masked_label[i] = static_cast<std::int32_t>(i % 300);
        }
        for (std::size_t i = used_sequences; i < bench.batch.first_row.size(); ++i) {
            bench.batch.first_row[i] = static_cast<std::int32_t>(i);
            bench.batch.next_sentence_label[i] = 1;
            bench.batch.sequence_sample[i] = i;
        }
        REQUIRE(same_bits(bench.gradients(), expected));
        REQUIRE(bench.model.losses().masked_loss == sums.masked_loss);
        REQUIRE(bench.model.losses().next_sentence_loss == sums.next_sentence_loss);
    }
}

TEST_CASE("nothing of an earlier batch is read, not even a NaN in every activation") {
    Bench bench(wide_config(), {5, 1, 30}, DType::f32, 200);
    const Parameters expected = bench.gradients();
    const auto finite = [](const Parameters& gradients) {
        for (const Parameter& row : gradients.table().rows)
            for (const double value : gradients.values(row))
                if (!std::isfinite(value)) return false;
        return true;
    };
    REQUIRE(finite(expected));

    const std::vector<Sample> others = random_samples(bench.config, {90, 80, 41, 17}, 99);
    const Batch other = make_batch(others, bench.batch.capacity, bench.config);
    REQUIRE(finite(gradients_of(bench.model, bench.weights.view(), other, bench.state)));
    REQUIRE(same_bits(bench.gradients(), expected));

    fill_with_nan(bench.model.activations());
    REQUIRE(same_bits(bench.gradients(), expected));
}

TEST_CASE("an empty micro-batch has no loss and gradients of zero") {
    Bench bench(wide_config(), kWideLengths, DType::f32);
    const Batch empty = make_batch({}, bench.batch.capacity, bench.config);
    const Parameters gradients = gradients_of(bench.model, bench.weights.view(), empty, bench.state);
    const LossSums sums = bench.model.losses();
    REQUIRE(sums.masked_loss == 0);
    REQUIRE(sums.next_sentence_loss == 0);
    REQUIRE(sums.masked_mean() == 0);
    REQUIRE(sums.next_sentence_mean() == 0);
    for (const Parameter& row : bench.table.rows) {
        INFO(row.name);
        REQUIRE(largest(gradients.values(row)) == 0);
    }
}

TEST_CASE("the number of threads changes nothing, to the bit") {
    for (const DType working : {DType::f64, DType::f32}) {
        Bench bench(wide_config(), kWideLengths, working, 5);
        const Parameters expected = with_threads(1, [&] { return bench.gradients(); });
        const LossSums sums = bench.model.losses();
        for (const int threads : {1, 2, 3, 5}) {
            INFO(threads << " threads, " << name_of(working));
            REQUIRE(same_bits(with_threads(threads, [&] { return bench.gradients(); }), expected));
            REQUIRE(bench.model.losses().masked_loss == sums.masked_loss);
            REQUIRE(bench.model.losses().next_sentence_loss == sums.next_sentence_loss);
        }
    }
}

TEST_CASE("a prediction does not depend on which other positions are asked for") {
    Bench bench(wide_config(), {40}, DType::f64);
    Sample every = bench.samples[0];
    every.masked_position.clear();
    every.masked_label.clear();
    for (std::int32_t position = 0; position < 40; ++position) {
        every.masked_position.push_back(position);
        every.masked_label.push_back(position);
    }
    const std::span one(&every, 1);
    const Batch batch = make_batch(one, capacity_for(one), bench.config);
    PretrainingModel model(bench.config, {.capacity = batch.capacity, .working = DType::f64, .backward = false});
    const StepState state = state_for(batch);
    model.put(batch);
    model.forward(bench.weights.view(), &state, false);
    bench.loss(false);
    for (std::size_t i = 0; i < bench.samples[0].masked_position.size(); ++i) {
        const std::vector<double> alone = logits_row(bench.model, static_cast<std::int64_t>(i));
        const std::vector<double> among = logits_row(model, bench.samples[0].masked_position[i]);
        REQUIRE(largest_difference(alone, among) <= 1e-12 * largest(alone));
    }
}

TEST_CASE("without predictions only the next-sentence loss is left") {
    Bench bench(wide_config(), {40, 3}, DType::f64);
    for (Sample& sample : bench.samples) {
        sample.masked_position.clear();
        sample.masked_label.clear();
    }
    const Batch batch = make_batch(bench.samples, bench.batch.capacity, bench.config, 1000);
    StepState state = bench.state;
    state.inverse_masked = 0;  // of no predictions; 1 / 0 would spoil what the next-sentence loss leaves
    const Parameters gradients = gradients_of(bench.model, bench.weights.view(), batch, state);
    REQUIRE(bench.model.losses().masked_loss == 0);
    REQUIRE(bench.model.losses().next_sentence_loss > 0);
    const auto size_of_row = [&](int row) {
        return largest(gradients.values(bench.table.rows[static_cast<std::size_t>(row)]));
    };
    REQUIRE(size_of_row(bench.table.transform.weight) == 0);
    REQUIRE(size_of_row(bench.table.decoder_bias) == 0);
    REQUIRE(size_of_row(bench.table.pooler.weight) > 0);
    REQUIRE(size_of_row(bench.table.word) > 0);
}

TEST_CASE("evaluation leaves the logits to be read, drops nothing and repeats") {
    Bench bench(wide_config(), kWideLengths, DType::f64);
    const double loss = bench.loss(false);
    const std::vector<double> logits = logits_row(bench.model, 3);
    const auto label = static_cast<std::size_t>(bench.batch.masked_label[3]);
    double total = 0;
    for (const double value : logits) total += std::exp(value);
    const double expected = std::log(total) - logits[label];
    REQUIRE(bench.model.activations().heads.masked_loss.data<double>()[3] == Approx(expected).epsilon(1e-12));

    bench.state.step += 1;
    bench.state.dropout_key = step_dropout_key(17, 4);
    REQUIRE(bench.loss(false) == loss);
    REQUIRE(bench.loss(true) != loss);

    BertConfig without = bench.config;
    without.hidden_dropout_prob = 0;
    without.attention_probs_dropout_prob = 0;
    Bench plain(without, kWideLengths, DType::f64);
    REQUIRE(plain.loss(true) == loss);
    REQUIRE(plain.loss(false) == loss);
}

TEST_CASE("dropout is a function of the step and the sample") {
    Bench bench(wide_config(), kWideLengths, DType::f64);
    const double first = bench.loss(true);
    bench.state.dropout_key = step_dropout_key(17, 4);
    const double other_step = bench.loss(true);
    bench.state.dropout_key = step_dropout_key(17, 3);
    REQUIRE(other_step != first);
    REQUIRE(bench.loss(true) == first);
    bench.batch = make_batch(bench.samples, bench.batch.capacity, bench.config, 5000);
    REQUIRE(bench.loss(true) != first);
}

TEST_CASE("each layer and site drops what kernels/core/dropout.h says for it") {
    // Where an element was dropped, the sum before a LayerNorm is the residual alone, and the embedding is 0.
    const BertConfig config = small_config();
    Bench bench(config, {9, 7, 1, 8}, DType::f64);
    bench.loss(true);
    const Activations& activations = bench.model.activations();
    REQUIRE(activations.only_head_rows());  // of the last layer: their masks are those of their tokens
    const Tensor zero_residual{};
    const auto check_hidden = [&](const Tensor& sum, const Tensor& residual, std::uint32_t layer, DropoutSite site) {
        const DropoutKey key{bench.state.dropout_key, layer, site};
        const bool of_heads = sum.rows != bench.batch.capacity.tokens;
        const auto& sample = of_heads ? bench.batch.head_sample : bench.batch.row_sample;
        const auto& position = of_heads ? bench.batch.head_position : bench.batch.position_id;
        const DropoutRate rate = hidden_dropout_rate(config.hidden_dropout_prob);
        for (std::int64_t row = 0; row < sum.rows; ++row) {
            for (std::int64_t col = 0; col < sum.cols; ++col) {
                const auto at = static_cast<std::size_t>(row);
                const PhiloxBits bits = hidden_dropout_bits(key, sample[at], static_cast<std::uint32_t>(position[at]),
                                                            static_cast<std::uint32_t>(col / 8));
                const bool dropped = hidden_dropout_value(bits, static_cast<std::uint32_t>(col % 8)) < rate.threshold;
                const std::int64_t i = row * sum.cols + col;
                const double nothing = residual ? residual.data<double>()[i] : 0;
                REQUIRE((sum.data<double>()[i] == nothing) == dropped);
            }
        }
    };
    check_hidden(activations.embedding, zero_residual, 0, DropoutSite::embedding);
    for (std::uint32_t i = 0; i < 2; ++i) {
        const LayerActivations& layer = activations.layers[i];
        const Tensor residual = layer.head_input ? layer.head_input : layer.input;
        check_hidden(layer.attention_norm.sum, residual, i, DropoutSite::attention_output);
        check_hidden(layer.output_norm.sum, layer.attention_output, i, DropoutSite::ffn_output);
    }

    // A sequence of one token sees itself alone: its context is its scaled value, or 0 where that was dropped.
    Bench alone(config, std::vector<std::int64_t>(50, 1), DType::f64);
    alone.loss(true);
    const DropoutRate rate = attention_dropout_rate(config.attention_probs_dropout_prob);
    for (std::uint32_t i = 0; i < 2; ++i) {
        const LayerActivations& layer = alone.model.activations().layers[i];
        const DropoutKey key{alone.state.dropout_key, i, DropoutSite::attention_probabilities};
        for (std::int64_t row = 0; row < 50; ++row) {
            for (std::int64_t col = 0; col < config.hidden_size; ++col) {
                const auto head = static_cast<std::uint32_t>(col / config.head_dim());
                const std::uint64_t sample = alone.batch.sequence_sample[static_cast<std::size_t>(row)];
                const PhiloxBits bits = attention_dropout_bits(key, sample, head, 0, 0, 0, 0);
                const bool dropped = attention_dropout_value(bits, 0, 0) < rate.threshold;
                const double value = layer.qkv.data<double>()[row * layer.qkv.stride + 2 * config.hidden_size + col];
                const double context = layer.context.data<double>()[row * layer.context.stride + col];
                REQUIRE(context == Approx(dropped ? 0 : value * rate.keep_scale()).epsilon(1e-12));
            }
        }
    }
}

TEST_CASE("gradients accumulate over micro-batches as the sum of both") {
    Bench bench(wide_config(), {50, 20}, DType::f64);
    const std::vector<Sample> others = random_samples(bench.config, {33, 7, 21}, 41);
    const BatchCapacity one = bench.batch.capacity, two = capacity_for(others);
    const BatchCapacity capacity = {std::max(one.tokens, two.tokens), std::max(one.sequences, two.sequences),
                                    std::max(one.masked, two.masked)};
    PretrainingModel model(bench.config, {.capacity = capacity, .working = DType::f64});
    const Batch first = make_batch(bench.samples, capacity, bench.config, 0);
    const Batch second = make_batch(others, capacity, bench.config, 2);
    Parameters expected = gradients_of(model, bench.weights.view(), first, bench.state);
    add_to(expected, gradients_of(model, bench.weights.view(), second, bench.state));

    Parameters accumulated = gradients_of(model, bench.weights.view(), first, bench.state);
    model.put(second);
    model.forward(bench.weights.view(), &bench.state, true);
    model.backward(bench.weights.view(), &bench.state, accumulated.view(), true);
    REQUIRE(relative_distance(accumulated, expected) <= 1e-13);
}

TEST_CASE("the last layer's other rows are for nobody: computed or not, losses and gradients are the same") {
    for (const bool next_sentence : {true, false}) {
        for (const DType working : {DType::f64, DType::f32}) {
            const double tolerance = working == DType::f64 ? 1e-12 : 1e-5;
            Bench bench(wide_config(), kWideLengths, working, 5);
            PretrainingOptions options{
                .capacity = bench.batch.capacity, .working = working, .next_sentence = next_sentence};
            PretrainingModel some(bench.config, options);
            options.every_row = true;
            PretrainingModel all(bench.config, options);
            REQUIRE(some.activations().only_head_rows());
            REQUIRE(!all.activations().only_head_rows());
            REQUIRE(some.memory_bytes() < all.memory_bytes());
            const Parameters expected = gradients_of(all, bench.weights.view(), bench.batch, bench.state);
            const Parameters found = gradients_of(some, bench.weights.view(), bench.batch, bench.state);
            REQUIRE(std::abs(some.losses().masked_loss - all.losses().masked_loss) <=
                    tolerance * all.losses().masked_loss);
            REQUIRE(some.losses().masked_correct == all.losses().masked_correct);
            REQUIRE(std::abs(some.losses().next_sentence_loss - all.losses().next_sentence_loss) <=
                    tolerance * std::abs(all.losses().next_sentence_loss));
            for (const Parameter& row : bench.table.rows) {
                if (std::isnan(expected.get(row.offset))) continue;  // of a head that rests
                INFO(row.name);
                REQUIRE(largest_difference(found.values(row), expected.values(row)) <=
                        tolerance *
                            largest(expected.values(bench.table.rows[static_cast<std::size_t>(bench.table.word)])));
            }
        }
    }
}

TEST_CASE("memory is what was planned, and evaluation needs less") {
    const BertConfig config = wide_config();
    const PretrainingOptions training = {.capacity = {.tokens = 500, .sequences = 9, .masked = 80}};
    PretrainingOptions evaluation = training;
    evaluation.backward = false;
    REQUIRE(PretrainingModel(config, training).memory_bytes() == PretrainingModel::planned_bytes(config, training));
    REQUIRE(PretrainingModel(config, evaluation).memory_bytes() == PretrainingModel::planned_bytes(config, evaluation));
    REQUIRE(PretrainingModel::planned_bytes(config, evaluation) < PretrainingModel::planned_bytes(config, training));
}

TEST_CASE("a batch of another capacity is refused with both sizes") {
    Bench bench(wide_config(), {5, 6}, DType::f32);
    const Batch other = make_batch(bench.samples, capacity_for(bench.samples, 1), bench.config);
    REQUIRE_THROWS_WITH(bench.model.put(other),
                        Catch::Contains("batch of 12 tokens") && Catch::Contains("planned for 11"));
}

}  // namespace cloze::test
