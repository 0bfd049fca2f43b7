// Weights in and out: what is found in the wild loads with a report of what was done, and what cannot be used is
// refused with a message that names it.
#include "engine/model/weights_file.h"

#include <algorithm>
#include <map>

#include "engine/files/json.h"
#include "kernels/core/bf16.h"
#include "tests/model/model_testing.h"
#include "tests/support.h"

namespace cloze::test {
namespace {

using Catch::Contains;
namespace fs = std::filesystem;

const std::string kWord = "bert.embeddings.word_embeddings.weight";
const std::string kDecoder = "cls.predictions.decoder.weight";
const std::string kDecoderBias = "cls.predictions.decoder.bias";
const std::string kBias = "cls.predictions.bias";

BertConfig tiny_config() {
    BertConfig config;
    config.vocab_size = 37;
    config.hidden_size = 8;
    config.num_attention_heads = 2;
    config.num_hidden_layers = 2;
    config.intermediate_size = 12;
    config.max_position_embeddings = 6;
    return config;
}

/// One tensor of a file to be written.
struct Stored {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};
using StoredFile = std::map<std::string, Stored>;

/// A model's weights, and the same as the tensors of a file.
struct Fixture {
    ParameterTable table = parameter_table(tiny_config());
    Parameters weights = random_parameters(table, DType::f32, 3);
    StoredFile tensors;
    TemporaryFolder folder;

    Fixture() {
        for (const Parameter& row : table.rows) {
            Stored& stored = tensors[row.name];
            stored.shape = {row.rows};
            if (row.rank == 2) stored.shape.push_back(row.cols);
            for (const double value : weights.values(row)) stored.values.push_back(static_cast<float>(value));
        }
    }

    void rename(const std::string& from, const std::string& to) {
        auto node = tensors.extract(from);
        REQUIRE_FALSE(node.empty());
        node.key() = to;
        tensors.insert(std::move(node));
    }
    /// Renames every tensor by a rule.
    void rename_all(const std::function<std::string(const std::string&)>& rule) {
        StoredFile renamed;
        for (auto& [name, stored] : tensors) renamed[rule(name)] = stored;
        tensors = renamed;
    }
    void write(const std::string& file = "model.safetensors") const { write_tensors(tensors, file); }
    void write_tensors(const StoredFile& chosen, const std::string& file) const {
        std::vector<TensorToStore> to_store;
        for (const auto& [name, stored] : chosen) {
            to_store.push_back(tensor_to_store<float>(name, stored.shape, stored.values));
        }
        OutputFile output(folder.path() / file);
        write_safetensors(output, to_store);
        output.finish();
    }
    /// Loads into a new buffer of NaN.
    Parameters load(LoadReport& report, bool refuse = true, DType dtype = DType::f32) const {
        Parameters loaded(table, dtype);
        report = load_weights(folder.path(), loaded.view(), {.refuse = refuse, .seed = 9});
        return loaded;
    }
    std::string refusal(bool refuse = true) const {
        try {
            LoadReport report;
            load(report, refuse);
        } catch (const Error& error) {
            REQUIRE(error.fault() == Fault::input);
            REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
            return error.what();
        }
        return "";
    }
};

bool replace(std::string& text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    if (at == std::string::npos) return false;
    text.replace(at, from.size(), to);
    return true;
}

bool mentions(const std::vector<std::string>& lines, const std::string& part) {
    return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("weights written are weights read, to the bit, with nothing to report") {
    Fixture fixture;
    OutputFile file(fixture.folder.path() / "model.safetensors");
    write_safetensors(file, tensors_to_store(fixture.weights.view()));
    file.finish();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(report.notes.empty());
    REQUIRE(report.missing.empty());
    REQUIRE(report.unused.empty());

    // The file holds the published names and shapes, without the padding of the word table.
    const SafetensorsReader reader(fixture.folder.path() / "model.safetensors");
    REQUIRE(reader.tensors().size() == fixture.table.rows.size());
    REQUIRE(reader.require(kWord).shape == std::vector<std::int64_t>{37, 8});
    REQUIRE(reader.require(kBias).shape == std::vector<std::int64_t>{37});
    REQUIRE(reader.metadata().at("format") == "pt");
}

TEST_CASE("the names LayerNorm.gamma and LayerNorm.beta are read as weight and bias") {
    Fixture fixture;
    fixture.rename_all([](std::string name) {
        replace(name, "LayerNorm.weight", "LayerNorm.gamma");
        replace(name, "LayerNorm.bias", "LayerNorm.beta");
        return name;
    });
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(mentions(report.notes, "12 tensors"));  // two of each of six LayerNorms
    REQUIRE(report.unused.empty());
}

TEST_CASE("the module. prefix of data-parallel wrappers is stripped and reported") {
    Fixture fixture;
    fixture.rename_all([](const std::string& name) { return "module." + name; });
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(mentions(report.notes, "prefixed"));
}

TEST_CASE("the buffer position_ids of old versions is ignored") {
    Fixture fixture;
    fixture.tensors["bert.embeddings.position_ids"] = {{1, 6}, {0, 1, 2, 3, 4, 5}};
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(report.unused.empty());
}

TEST_CASE("a stored decoder that equals the word table says nothing, and one that differs is reported") {
    Fixture fixture;
    fixture.tensors[kDecoder] = fixture.tensors[kWord];
    fixture.tensors[kDecoderBias] = fixture.tensors[kBias];
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(report.notes.empty());
    REQUIRE(report.unused.empty());

    Fixture other;
    other.tensors[kDecoder] = other.tensors[kWord];
    other.tensors[kDecoder].values[5] += 1;
    other.write();
    REQUIRE(same_bits(other.load(report), other.weights));
    REQUIRE(mentions(report.notes, kDecoder + " differs from " + kWord));

    Fixture bias;
    bias.tensors[kDecoderBias] = bias.tensors[kBias];
    bias.tensors[kDecoderBias].values[36] += 1;
    bias.write();
    REQUIRE(same_bits(bias.load(report), bias.weights));
    REQUIRE(report.notes ==
            std::vector<std::string>{kDecoderBias + " differs from " + kBias + ", which is used for both"});
}

TEST_CASE("a stored decoder of another type, or with padding rows, equals the word table") {
    Fixture fixture;
    Stored& word = fixture.tensors[kWord];
    for (float& value : word.values) value = static_cast<float>(bf16(value));
    std::vector<TensorToStore> to_store;
    for (const auto& [name, stored] : fixture.tensors) {
        to_store.push_back(tensor_to_store<float>(name, stored.shape, stored.values));
    }
    std::vector<bf16> narrow;
    for (const float value : word.values) narrow.emplace_back(value);
    narrow.resize(64 * 8, bf16(7.0F));
    std::vector<float> padded_bias = fixture.tensors[kBias].values;
    padded_bias.resize(64, -100.0F);
    to_store.push_back(tensor_to_store<bf16>(kDecoder, {64, 8}, narrow));
    to_store.push_back(tensor_to_store<float>(kDecoderBias, {64}, padded_bias));
    OutputFile file(fixture.folder.path() / "model.safetensors");
    write_safetensors(file, to_store);
    file.finish();
    LoadReport report;
    fixture.load(report);
    REQUIRE(report.notes.empty());
    REQUIRE(report.unused.empty());
}

TEST_CASE("the word table and the output bias may be stored under the decoder's names only") {
    Fixture fixture;
    fixture.rename(kBias, kDecoderBias);
    fixture.rename(kWord, kDecoder);
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(report.missing.empty());
    REQUIRE(report.unused.empty());
    REQUIRE(mentions(report.notes, kWord + " is taken from " + kDecoder));
    REQUIRE(mentions(report.notes, kBias + " is taken from " + kDecoderBias));
}

TEST_CASE("a plain BertModel folder loads, and its missing heads are initialised and named, or refused") {
    Fixture fixture;
    StoredFile encoder;
    for (const auto& [name, stored] : fixture.tensors) {
        if (name.starts_with("bert.")) encoder[name.substr(5)] = stored;
    }
    fixture.tensors = encoder;
    fixture.write();
    LoadReport report;
    const Parameters loaded = fixture.load(report, false);
    REQUIRE(report.missing.size() == 7);  // transform (2), its LayerNorm (2), output bias, next sentence (2)
    REQUIRE(report.unused.empty());
    Parameters fresh(fixture.table, DType::f32);
    initialize(fresh.view(), 0.02, 9, Initialization::truncated_normal);
    for (const Parameter& row : fixture.table.rows) {
        INFO(row.name);
        const bool missing = std::ranges::find(report.missing, row.name) != report.missing.end();
        REQUIRE(missing == row.name.starts_with("cls."));
        REQUIRE(loaded.values(row) == (missing ? fresh : fixture.weights).values(row));
    }
    REQUIRE_THAT(fixture.refusal(), Contains("cls.seq_relationship.weight") && Contains("cls.predictions.bias"));
}

TEST_CASE("a parameter of the embeddings or of a layer is never initialised") {
    for (const std::string& name : {kWord, std::string("bert.embeddings.position_embeddings.weight"),
                                    std::string("bert.encoder.layer.0.attention.self.query.bias")}) {
        INFO(name);
        Fixture fixture;
        fixture.tensors.erase(name);
        fixture.write();
        REQUIRE_THAT(fixture.refusal(false), Contains("lacks " + name + ";"));
    }
}

TEST_CASE("a checkpoint with more or fewer layers than the model is refused") {
    const auto layer = [](const std::string& name, int number) {
        return name.starts_with("bert.encoder.layer." + std::to_string(number) + ".");
    };
    Fixture fewer;
    std::erase_if(fewer.tensors, [&](const auto& entry) { return layer(entry.first, 1); });
    fewer.write();
    REQUIRE_THAT(fewer.refusal(false), Contains("the checkpoint has 1 layers, the model 2; ") &&
                                           Contains("--model " + (fewer.folder.path() / "config.json").string()));
    Fixture more;
    const StoredFile two = more.tensors;
    for (const auto& [name, stored] : two) {
        std::string third = name;
        if (layer(name, 1) && replace(third, "layer.1.", "layer.2.")) more.tensors[third] = stored;
    }
    more.write();
    REQUIRE_THAT(more.refusal(false), Contains("the checkpoint has 3 layers, the model 2; "));

    Fixture none;
    std::erase_if(none.tensors, [&](const auto& entry) { return layer(entry.first, 0) || layer(entry.first, 1); });
    none.write();
    REQUIRE_THAT(none.refusal(false), Contains("the checkpoint has 0 layers, the model 2; "));
}

TEST_CASE("a part of a layer that the model does not have is refused") {
    Fixture fixture;
    const std::string name = "bert.encoder.layer.1.attention.self.distance_embedding.weight";
    fixture.tensors[name] = {{11, 4}, std::vector<float>(44)};
    fixture.write();
    REQUIRE_THAT(fixture.refusal(false), Contains("no place for " + name));
}

TEST_CASE("a vocabulary padded in the file is cut and reported, and a smaller one is refused") {
    Fixture fixture;
    Stored& word = fixture.tensors[kWord];
    word.shape[0] += 3;
    word.values.resize(word.values.size() + 3 * 8, 99.0f);
    Stored& bias = fixture.tensors[kBias];
    bias.shape[0] += 3;
    bias.values.resize(bias.values.size() + 3, 99.0f);
    fixture.write();
    LoadReport report;
    const Parameters loaded = fixture.load(report);
    REQUIRE(same_bits(loaded, fixture.weights));  // padding rows in memory are 0, not 99
    REQUIRE(mentions(report.notes, kWord + ": 3 padding rows"));
    REQUIRE(mentions(report.notes, kBias + ": 3 padding rows"));

    Fixture smaller;
    Stored& cut = smaller.tensors[kWord];
    cut.shape[0] -= 1;
    cut.values.resize(cut.values.size() - 8);
    smaller.write();
    REQUIRE_THAT(smaller.refusal(), Contains(kWord) && Contains("[36,") && Contains("[37,"));
}

TEST_CASE("a tensor of another shape is refused with both shapes") {
    Fixture fixture;
    Stored& dense = fixture.tensors["bert.pooler.dense.weight"];
    dense.shape = {4, 16};
    fixture.write();
    REQUIRE_THAT(fixture.refusal(), Contains("model.safetensors") && Contains("bert.pooler.dense.weight") &&
                                        Contains("[4,") && Contains("[8,"));
}

TEST_CASE("tensors this model has no place for are named") {
    Fixture fixture;
    fixture.tensors["classifier.weight"] = {{3, 8}, std::vector<float>(24)};
    fixture.tensors["bert.encoder.layer.99999999999999999999.weight"] = {{8}, std::vector<float>(8)};
    fixture.write();
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));
    REQUIRE(report.unused.size() == 2);
    REQUIRE(mentions(report.unused, "classifier.weight"));
    REQUIRE(mentions(report.unused, "layer.99999999999999999999.weight"));
}

TEST_CASE("one tensor under two spellings is refused") {
    Fixture fixture;
    fixture.tensors["bert.embeddings.LayerNorm.gamma"] = fixture.tensors["bert.embeddings.LayerNorm.weight"];
    fixture.write();
    REQUIRE_THAT(fixture.refusal(), Contains("bert.embeddings.LayerNorm.weight") && Contains("twice"));
}

TEST_CASE("a sharded checkpoint is read through its index") {
    Fixture fixture;
    StoredFile parts[2];
    Json map = Json::object();
    std::size_t number = 0;
    const std::string names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    for (const auto& [name, stored] : fixture.tensors) {
        parts[number % 2][name] = stored;
        map[name] = names[number % 2];
        ++number;
    }
    for (const int part : {0, 1}) fixture.write_tensors(parts[part], names[part]);
    const Json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", map}};
    write_file(fixture.folder.path() / "model.safetensors.index.json", index.dump());
    LoadReport report;
    REQUIRE(same_bits(fixture.load(report), fixture.weights));

    fs::remove(fixture.folder.path() / names[1]);
    REQUIRE_THROWS_WITH(fixture.load(report), Contains(names[1]));

    map[kWord] = "../outside.safetensors";
    write_file(fixture.folder.path() / "model.safetensors.index.json", Json{{"weight_map", map}}.dump());
    REQUIRE_THAT(fixture.refusal(), Contains("../outside.safetensors"));
}

TEST_CASE("files of 16-bit and 64-bit numbers are read, in f32 and in f64") {
    Fixture fixture;
    std::vector<bf16> narrow;
    std::vector<double> wide;
    const Stored& position = fixture.tensors["bert.embeddings.position_embeddings.weight"];
    const Stored& pooler = fixture.tensors["bert.pooler.dense.weight"];
    for (const float value : position.values) narrow.emplace_back(value);
    for (const float value : pooler.values) wide.push_back(static_cast<double>(value) / 3);
    const std::vector<std::uint16_t> halves(64, 0x3555);  // 0.333251953125
    std::vector<TensorToStore> to_store;
    for (const auto& [name, stored] : fixture.tensors) {
        if (name == "bert.embeddings.position_embeddings.weight")
            to_store.push_back(tensor_to_store<bf16>(name, stored.shape, narrow));
        else if (name == "bert.pooler.dense.weight")
            to_store.push_back(tensor_to_store<double>(name, stored.shape, wide));
        else if (name == "cls.predictions.transform.dense.weight")
            to_store.push_back({name, StoredType::F16, stored.shape, std::as_bytes(std::span(halves)), nullptr});
        else
            to_store.push_back(tensor_to_store<float>(name, stored.shape, stored.values));
    }
    OutputFile file(fixture.folder.path() / "model.safetensors");
    write_safetensors(file, to_store);
    file.finish();
    for (const DType dtype : {DType::f32, DType::f64}) {
        LoadReport report;
        const Parameters loaded = fixture.load(report, true, dtype);
        const auto first = [&](int row) {
            return loaded.get(fixture.table.rows[static_cast<std::size_t>(row)].offset);
        };
        REQUIRE(first(fixture.table.position) == static_cast<double>(static_cast<float>(narrow[0])));
        REQUIRE(first(fixture.table.transform.weight) == 0.333251953125);
        const double expected = dtype == DType::f64 ? wide[0] : static_cast<double>(static_cast<float>(wide[0]));
        REQUIRE(first(fixture.table.pooler.weight) == expected);
        REQUIRE(first(fixture.table.pooler.bias) ==
                static_cast<double>(fixture.tensors["bert.pooler.dense.bias"].values[0]));
    }
}

TEST_CASE("a folder without usable weights is refused with what to do") {
    Fixture fixture;
    REQUIRE_THAT(fixture.refusal(), Contains("no model.safetensors"));
    write_file(fixture.folder.path() / "pytorch_model.bin", "pickle");
    REQUIRE_THAT(fixture.refusal(), Contains("pytorch_model.bin") && Contains("save_pretrained"));
    fs::remove(fixture.folder.path() / "pytorch_model.bin");

    write_file(fixture.folder.path() / "model.safetensors", "not a safetensors file");
    REQUIRE_THAT(fixture.refusal(), Contains("model.safetensors"));
    fs::remove(fixture.folder.path() / "model.safetensors");

    fixture.tensors = {{"transformer.wte.weight", {{2}, {1, 2}}}};
    fixture.write();
    REQUIRE_THAT(fixture.refusal(false), Contains("no tensor of a BERT encoder"));
}

TEST_CASE("a configuration of a model larger than the machine is refused, not tried") {
    const TemporaryFolder folder;
    BertConfig config;
    config.hidden_size = 1 << 16;
    config.num_hidden_layers = 4095;
    config.num_attention_heads = 1024;
    config.intermediate_size = 1 << 20;
    write_file(folder.path() / "config.json", config_json(config, "BertForPreTraining"));
    CHECK_THROWS_WITH(LoadedModel(folder.path(), true),
                      Catch::Contains("config.json: the model needs") && Catch::Contains("correct the file"));
}

TEST_CASE("moments load exactly or not at all") {
    Fixture fixture;
    OutputFile output(fixture.folder.path() / "optimizer.safetensors");
    write_safetensors(output, tensors_to_store(fixture.weights.view(), "exp_avg."));
    output.finish();
    const SafetensorsReader file(fixture.folder.path() / "optimizer.safetensors");
    Parameters loaded(fixture.table, DType::f32);
    load_exactly(file, loaded.view(), "exp_avg.");
    for (const Parameter& row : fixture.table.rows) REQUIRE(loaded.values(row) == fixture.weights.values(row));

    REQUIRE_THROWS_WITH(load_exactly(file, loaded.view(), "exp_avg_sq."), Contains("exp_avg_sq."));
    BertConfig other = tiny_config();
    other.intermediate_size = 13;
    const ParameterTable wider = parameter_table(other);
    Parameters elsewhere(wider, DType::f32);
    REQUIRE_THROWS_WITH(load_exactly(file, elsewhere.view(), "exp_avg."),
                        Contains("exp_avg.bert.encoder.layer.1.output.dense.weight") && Contains("does not fit"));
}

}  // namespace cloze::test
