// The parameter table and its initial values: counts and names of the published models, the layout that buckets, GEMMs
// and files rely on, the distribution of random weights.
#include "engine/model/parameters.h"

#include <algorithm>
#include <set>

#include "engine/model/initialization.h"
#include "tests/kernels/op_testing.h"
#include "tests/model/model_testing.h"

namespace cloze::test {
namespace {

BertConfig cased(BertConfig config) {
    config.vocab_size = 28996;
    return config;
}

/// The checkpoint's tensors as transformers lists them: name and shape.
std::vector<std::pair<std::string, std::vector<std::int64_t>>> published_tensors(const BertConfig& config) {
    const std::int64_t hidden = config.hidden_size, wide = config.intermediate_size;
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensors;
    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
        tensors.emplace_back(name, std::move(shape));
    };
    const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in) {
        add(name + ".weight", {out, in});
        add(name + ".bias", {out});
    };
    const auto norm = [&](const std::string& name) {
        add(name + ".weight", {hidden});
        add(name + ".bias", {hidden});
    };
    add("bert.embeddings.word_embeddings.weight", {config.vocab_size, hidden});
    add("bert.embeddings.position_embeddings.weight", {config.max_position_embeddings, hidden});
    add("bert.embeddings.token_type_embeddings.weight", {config.type_vocab_size, hidden});
    norm("bert.embeddings.LayerNorm");
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
        const std::string layer = "bert.encoder.layer." + std::to_string(i) + ".";
        for (const char* part : {"query", "key", "value"}) linear(layer + "attention.self." + part, hidden, hidden);
        linear(layer + "attention.output.dense", hidden, hidden);
        norm(layer + "attention.output.LayerNorm");
        linear(layer + "intermediate.dense", wide, hidden);
        linear(layer + "output.dense", hidden, wide);
        norm(layer + "output.LayerNorm");
    }
    linear("bert.pooler.dense", hidden, hidden);
    linear("cls.predictions.transform.dense", hidden, hidden);
    norm("cls.predictions.transform.LayerNorm");
    add("cls.predictions.bias", {config.vocab_size});
    linear("cls.seq_relationship", 2, hidden);
    return tensors;
}

struct Moments {
    double mean = 0, deviation = 0, largest = 0;
    double beyond_two_sigma = 0;  // share
};
Moments moments_of(const std::vector<double>& values, double sigma) {
    Moments moments;
    const auto count = static_cast<double>(values.size());
    for (const double value : values) moments.mean += value / count;
    for (const double value : values) {
        moments.deviation += (value - moments.mean) * (value - moments.mean) / count;
        moments.largest = std::max(moments.largest, std::abs(value));
        moments.beyond_two_sigma += std::abs(value) > 2 * sigma ? 1 / count : 0;
    }
    moments.deviation = std::sqrt(moments.deviation);
    return moments;
}

const Parameter& row_named(const ParameterTable& table, const std::string& name) {
    const auto found = std::ranges::find(table.rows, name, &Parameter::name);
    REQUIRE(found != table.rows.end());
    return *found;
}

BertConfig odd_config() {
    BertConfig config;
    config.vocab_size = 1001;
    config.hidden_size = 60;
    config.num_attention_heads = 5;
    config.num_hidden_layers = 3;
    config.intermediate_size = 70;
    config.max_position_embeddings = 33;
    return config;
}

}  // namespace

TEST_CASE("the table counts the parameters of the published models") {
    REQUIRE(parameter_table(preset_config("base")).parameter_count() == 110'106'428);
    REQUIRE(parameter_table(preset_config("large")).parameter_count() == 336'226'108);
    REQUIRE(parameter_table(cased(preset_config("base"))).parameter_count() == 108'932'934);
    REQUIRE(parameter_table(cased(preset_config("large"))).parameter_count() == 334'661'958);

    // BertModel with its pooler, without the heads.
    std::int64_t encoder = 0;
    for (const Parameter& row : parameter_table(preset_config("base")).rows) {
        if (row.name.starts_with("bert.")) encoder += row.count();
    }
    REQUIRE(encoder == 109'482'240);
    REQUIRE(parameter_table(preset_config("base")).rows.size() == 206);
    REQUIRE(parameter_table(preset_config("large")).rows.size() == 398);
}

TEST_CASE("names and shapes are those of transformers, each once") {
    for (const BertConfig& config : {odd_config(), preset_config("base")}) {
        const ParameterTable table = parameter_table(config);
        const auto published = published_tensors(config);
        REQUIRE(table.rows.size() == published.size());
        for (const auto& [name, shape] : published) {
            INFO(name);
            const Parameter& row = row_named(table, name);
            REQUIRE(row.rank == static_cast<int>(shape.size()));
            REQUIRE(row.rows == shape[0]);
            REQUIRE(row.cols == (shape.size() == 2 ? shape[1] : 1));
        }
    }
}

TEST_CASE("rows of the table lie one after the other, aligned, in the order in which backward finishes") {
    const ParameterTable table = parameter_table(odd_config());
    std::int64_t end = 0;
    for (const Parameter& row : table.rows) {
        INFO(row.name);
        const bool beside_query = row.name.ends_with("self.key.weight") || row.name.ends_with("self.key.bias") ||
                                  row.name.ends_with("self.value.weight") || row.name.ends_with("self.value.bias");
        REQUIRE(row.offset >= end);
        REQUIRE(row.offset - end < kParameterAlignment);
        if (beside_query)
            REQUIRE(row.offset == end);
        else
            REQUIRE(row.offset % kParameterAlignment == 0);
        end = row.offset + row.padded_rows * row.cols;
    }
    REQUIRE(table.elements >= end);
    REQUIRE(table.elements % kParameterAlignment == 0);

    // Heads first, then the layers from last to first, then the embedding; the tied table is complete last of all.
    REQUIRE(table.rows.front().name == "cls.predictions.bias");
    REQUIRE(table.rows.back().name == "bert.embeddings.word_embeddings.weight");
    REQUIRE(table.pooler.weight < table.layers[2].output.weight);
    REQUIRE(table.layers[2].query.weight < table.layers[1].output_norm.gamma);
    REQUIRE(table.layers[1].query.weight < table.layers[0].output_norm.gamma);
    REQUIRE(table.layers[0].query.weight < table.embedding_norm.gamma);
}

TEST_CASE("query, key and value are one matrix for the GEMM and three for the names") {
    const ParameterTable table = parameter_table(odd_config());
    Parameters parameters(table, DType::f32);
    for (std::int64_t i = 0; i < table.elements; ++i) parameters.set(i, static_cast<double>(i));
    for (const LayerIndex& layer : table.layers) {
        const ParameterView view = parameters.view();
        const Tensor weight = view.qkv_weight(layer), bias = view.qkv_bias(layer);
        REQUIRE(weight.rows == 180);
        REQUIRE(weight.cols == 60);
        REQUIRE(bias.count() == 180);
        const std::vector<LinearIndex> parts = {layer.query, layer.key, layer.value};
        for (std::size_t i = 0; i < 3; ++i) {
            REQUIRE(view[parts[i].weight].data<float>() == weight.data<float>() + i * 60 * 60);
            REQUIRE(view[parts[i].bias].data<float>() == bias.data<float>() + i * 60);
        }
    }
}

TEST_CASE("the word table is padded to 64 rows in memory, and only there") {
    for (const std::int64_t vocabulary : {63, 64, 65, 30522}) {
        BertConfig config = odd_config();
        config.vocab_size = vocabulary;
        const ParameterTable table = parameter_table(config);
        const Parameter& word = table.rows[static_cast<std::size_t>(table.word)];
        const Parameter& bias = table.rows[static_cast<std::size_t>(table.decoder_bias)];
        const std::int64_t padded = (vocabulary + 63) / 64 * 64;
        REQUIRE(word.rows == vocabulary);
        REQUIRE(word.padded_rows == padded);
        REQUIRE(bias.padded_rows == padded);
        Parameters parameters(table, DType::f32);
        REQUIRE(parameters.view()[table.word].rows == padded);
        REQUIRE(parameters.view()[table.decoder_bias].count() == padded);
    }
    BertConfig config = odd_config();
    config.vocab_size = 30522;
    REQUIRE(parameter_table(config).rows.back().padded_rows == 30528);
}

TEST_CASE("weight decay leaves out biases and LayerNorm, and segments are the rows without padding") {
    const ParameterTable table = parameter_table(odd_config());
    const std::vector<Segment> segments = table.segments();
    REQUIRE(segments.size() == table.rows.size());
    for (std::size_t i = 0; i < segments.size(); ++i) {
        const Parameter& row = table.rows[i];
        INFO(row.name);
        const bool excluded = row.name.ends_with("bias") || row.name.find("LayerNorm") != std::string::npos;
        REQUIRE(row.decay == !excluded);
        REQUIRE(segments[i].decay == (row.decay ? 1 : 0));
        REQUIRE(segments[i].offset == row.offset);
        REQUIRE(segments[i].count == row.count());
    }
}

TEST_CASE("initial weights: ones for LayerNorm, zeros for biases and padding, normal numbers elsewhere") {
    const ParameterTable table = parameter_table(odd_config());
    Parameters weights(table, DType::f32);
    initialize(weights.view(), 0.02, 7, Initialization::truncated_normal);
    std::vector<bool> named(static_cast<std::size_t>(table.elements), false);
    for (const Parameter& row : table.rows) {
        INFO(row.name);
        for (std::int64_t i = 0; i < row.count(); ++i) named[static_cast<std::size_t>(row.offset + i)] = true;
        const std::vector<double> values = weights.values(row);
        if (row.name.ends_with("LayerNorm.weight"))
            REQUIRE(std::ranges::all_of(values, [](double value) { return value == 1; }));
        else if (row.name.ends_with(".bias"))
            REQUIRE(std::ranges::all_of(values, [](double value) { return value == 0; }));
        else
            REQUIRE(moments_of(values, 0.02).deviation > 0.01);
    }
    for (std::int64_t i = 0; i < table.elements; ++i) {
        if (!named[static_cast<std::size_t>(i)]) REQUIRE(weights.get(i) == 0);
    }
}

TEST_CASE("random weights have the moments of their distribution") {
    const double sigma = 0.02;
    const ParameterTable table = parameter_table(odd_config());
    const Parameter& word = table.rows[static_cast<std::size_t>(table.word)];  // 60,060 elements
    const double count = static_cast<double>(word.count());
    Parameters weights(table, DType::f64);

    // Of a normal distribution cut at two sigma: deviation 0.87963 sigma.
    initialize(weights.view(), sigma, 7, Initialization::truncated_normal);
    const Moments cut = moments_of(weights.values(word), sigma);
    REQUIRE(std::abs(cut.mean) < 4 * 0.88 * sigma / std::sqrt(count));
    REQUIRE(cut.deviation == Approx(0.87963 * sigma).epsilon(4 / std::sqrt(2 * count)));
    REQUIRE(cut.beyond_two_sigma == 0);
    REQUIRE(cut.largest > 1.99 * sigma);

    initialize(weights.view(), sigma, 7, Initialization::normal);
    const Moments plain = moments_of(weights.values(word), sigma);
    REQUIRE(std::abs(plain.mean) < 4 * sigma / std::sqrt(count));
    REQUIRE(plain.deviation == Approx(sigma).epsilon(4 / std::sqrt(2 * count)));
    REQUIRE(plain.beyond_two_sigma == Approx(0.0455).margin(4 * std::sqrt(0.0455 / count)));
    REQUIRE(plain.largest > 3.5 * sigma);
}

TEST_CASE("a random weight is a function of seed, name and element alone") {
    const ParameterTable table = parameter_table(odd_config());
    const auto drawn = [](const ParameterTable& layout, std::uint64_t seed, DType dtype, int threads) {
        Parameters weights(layout, dtype);
        with_threads(threads, [&] { initialize(weights.view(), 0.02, seed, Initialization::truncated_normal); });
        return weights;
    };
    const Parameters expected = drawn(table, 7, DType::f32, 1);
    REQUIRE(same_bits(drawn(table, 7, DType::f32, 3), expected));
    REQUIRE_FALSE(same_bits(drawn(table, 8, DType::f32, 1), expected));
    REQUIRE_FALSE(same_bits(drawn(table, 7 + (1ull << 32), DType::f32, 1), expected));

    // f32 is f64 rounded.
    const Parameters doubles = drawn(table, 7, DType::f64, 1);
    for (std::int64_t i = 0; i < table.elements; ++i) {
        REQUIRE(static_cast<float>(doubles.get(i)) == static_cast<float>(expected.get(i)));
    }

    // Another vocabulary and number of layers move every offset, but not the values.
    BertConfig other = odd_config();
    other.vocab_size = 77;
    other.num_hidden_layers = 5;
    const ParameterTable moved = parameter_table(other);
    const Parameters elsewhere = drawn(moved, 7, DType::f32, 2);
    for (const char* name : {"bert.embeddings.position_embeddings.weight", "bert.encoder.layer.1.output.dense.weight",
                             "cls.seq_relationship.weight"}) {
        REQUIRE(elsewhere.values(row_named(moved, name)) == expected.values(row_named(table, name)));
    }

    // No two tensors share their numbers.
    std::set<double> firsts;
    std::size_t matrices = 0;
    for (const Parameter& row : table.rows) {
        if (row.initial != InitialValue::random) continue;
        firsts.insert(doubles.get(row.offset));
        ++matrices;
    }
    REQUIRE(firsts.size() == matrices);
}

TEST_CASE("one row can be initialised alone") {
    const ParameterTable table = parameter_table(odd_config());
    Parameters expected(table, DType::f32), weights(table, DType::f32);
    initialize(expected.view(), 0.02, 7, Initialization::normal);
    initialize_row(weights.view(), table.word, 0.02, 7, Initialization::normal);
    const Parameter& word = table.rows[static_cast<std::size_t>(table.word)];
    REQUIRE(weights.values(word) == expected.values(word));
    for (std::int64_t i = word.count(); i < word.padded_rows * word.cols; ++i)
        REQUIRE(weights.get(word.offset + i) == 0);
    REQUIRE(std::isnan(weights.get(word.offset - 1)));  // the neighbour's
}

TEST_CASE("initialisations are named") {
    for (const Initialization kind : {Initialization::truncated_normal, Initialization::normal}) {
        REQUIRE(initialization_from(name_of(kind)) == kind);
    }
    REQUIRE_THROWS_WITH(initialization_from("xavier"),
                        Catch::Contains("'xavier' is unknown") && Catch::Contains("truncated-normal or normal"));
}

}  // namespace cloze::test
