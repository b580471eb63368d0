import { compare } from "../panels/compare.ts";
import { mountPair } from "../panels/pair.ts";

export default mountPair(compare);
