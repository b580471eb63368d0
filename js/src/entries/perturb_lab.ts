import { mountPair } from "../panels/pair.ts";
import { perturbLab } from "../panels/perturb_lab.ts";

export default mountPair(perturbLab);
